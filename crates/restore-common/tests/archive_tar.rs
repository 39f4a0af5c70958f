//! What the native reader takes for a whole tar, and what not: as GNU tar does when it extracts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::ControlFlow;

use restore_common::{
    archive::{Contents, Damage, ReadError, read_to_end},
    pve::{Compression, GuestKind},
};
use rstest::rstest;

const SIZE: usize = 1500;
const CUT_SIZE: &[u8] = b"2734\0xyz";

fn read(bytes: &[u8]) -> Result<Contents, ReadError> {
    let read = read_to_end(bytes, GuestKind::Lxc, Compression::None, &mut |_| ControlFlow::Continue(()));
    read.map(|whole| whole.contents)
}

#[track_caller]
fn expect(members: &[Vec<u8>], is_taken: bool) {
    let bytes = [members.concat(), member(b"./last", b'0', b"last"), vec![0; 1024]].concat();
    match (read(&bytes), is_taken) {
        (Ok(contents), true) => assert_eq!(contents.members, 2),
        (Err(ReadError::Defect(defect)), false) => assert_eq!(defect.damage, Damage::Damaged, "{defect}"),
        (found, _) => panic!("{found:?}"),
    }
}

fn header(name: &[u8], kind: u8, size: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name);
    header[124..124 + size.len()].copy_from_slice(size);
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut header, i64::from);
    header
}

fn seal(header: &mut [u8], value: impl Fn(u8) -> i64) {
    header[148..156].fill(b' ');
    let sum: i64 = header.iter().map(|byte| value(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn octal(size: usize) -> Vec<u8> {
    format!("{size:011o}\0").into_bytes()
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content
}

fn member(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    [header(name, kind, &octal(content.len())), padded(content)].concat()
}

fn data() -> Vec<u8> {
    padded(&[b'D'; SIZE])
}

/// What an extended header says, and a member of 1500 bytes behind it whose own header says none.
fn extended(kind: u8, records: &[u8]) -> Vec<Vec<u8>> {
    vec![member(b"./pax", kind, records), header(b"./file", b'0', &octal(0)), data()]
}

#[rstest]
#[case::size(b"13 size=1500\n", true)]
#[case::ended_by_zeros(b"13 size=1500\n\0\0\0\0anything", true)]
#[case::indented(b" 15  size=1500\n", true)]
#[case::tab(b"13\tsize=1500\n", true)]
#[case::no_equals_sign(b"13 size=1500\n8 pathx\n", false)]
#[case::equals_sign_behind_zero(b"13 size=1500\n8 p\0t=x\n", false)]
#[case::sign(b"14 size=+1500\n", false)]
#[case::blank(b"14 size= 1500\n", false)]
#[case::no_number(b"8 size=\n", false)]
#[case::no_length(b"size=1500\n", false)]
#[case::no_blank(b"13size=1500\n", false)]
#[case::no_end_of_line(b"12 size=1500\n", false)]
#[case::short_length(b"1 size=1500\n", false)]
#[case::long_length(b"99 size=1500\n", false)]
#[case::absurd_length(b"99999999999999999999999 size=1500\n", false)]
fn records_are_read_as_tar_does(#[case] records: &[u8], #[case] is_taken: bool) {
    expect(&extended(b'x', records), is_taken);
    expect(&extended(b'X', records), is_taken);
}

#[test]
fn an_extended_header_may_be_of_any_size() {
    let long = |last: &[u8]| {
        let value = vec![b'v'; 2 << 20];
        // The length counts itself: seven digits.
        let length = 7 + b" comment=\n".len() + value.len();
        [format!("{length} comment=").as_bytes(), &value, last, b"13 size=1500\n"].concat()
    };
    expect(&extended(b'x', &long(b"\n")), true);
    expect(&extended(b'x', &long(b"v")), false);
    expect(&extended(b'x', &[&b"13 size=1500\n"[..], &vec![0; 2 << 20]].concat()), true);
}

#[test]
fn a_global_header_is_for_all_members() {
    let mut members = vec![member(b"./pax", b'g', b"13 size=1500\n")];
    for name in [b"./a", b"./b"] {
        members.extend([header(name, b'0', &octal(3)), data()]);
    }
    let bytes = [members.concat(), vec![0; 1024]].concat();
    assert_eq!(read(&bytes).unwrap().data, 3000);
}

#[rstest]
#[case::rest_behind_zero(b"2734\0xyz1234", true)]
#[case::rest_behind_blank(b"2734 xyz1234", true)]
#[case::blanks_around(b"    2734    ", true)]
#[case::zero_in_front(b"\x002734", true)]
#[case::all_digits(b"000000002734", true)]
#[case::bytes(b"\x80\0\0\0\0\0\0\0\0\0\x05\xdc", true)]
#[case::blanks(b"            ", false)]
#[case::blanks_behind_zero(b"\0           ", false)]
#[case::letter(b"2734x", false)]
#[case::no_octal_digit(b"2738", false)]
#[case::negative(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfa\x24", false)]
fn a_size_is_read_as_tar_does(#[case] size: &[u8], #[case] is_taken: bool) {
    // Without data, to take it for 0 would go unnoticed.
    let data = if is_taken { data() } else { Vec::new() };
    expect(&[header(b"./file", b'0', size), data], is_taken);
}

#[rstest]
fn links_and_folders_have_no_data_whatever_their_size(
    #[values(b'1', b'2', b'3', b'4', b'5', b'6')] kind: u8,
) {
    expect(&[header(b"./it", kind, &octal(SIZE))], true);
    expect(&[header(b"./it", kind, CUT_SIZE)], true);
    expect(&[header(b"./it", kind, &octal(SIZE)), data()], false);
    let extended = member(b"./pax", b'x', b"13 size=1500\n");
    expect(&[extended, header(b"./it", kind, &octal(0))], true);
    // Only a hard link's is not looked at.
    expect(&[header(b"./it", kind, &[b' '; 12])], kind == b'1');
}

#[test]
fn a_member_that_goes_on_elsewhere_is_refused() {
    expect(&[header(b"./it", b'M', &octal(SIZE)), data()], false);
}

#[test]
fn the_sum_of_a_header_may_be_a_signed_one() {
    let mut header = header("./äö".as_bytes(), b'0', &octal(SIZE));
    expect(&[header.clone(), data()], true);
    seal(&mut header, |byte| i64::from(byte.cast_signed()));
    expect(&[header.clone(), data()], true);
    seal(&mut header, |byte| i64::from(byte) + 1);
    expect(&[header, data()], false);
}
