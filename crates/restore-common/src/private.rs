//! What these programs keep on this machine and believe later: folders that nobody else may write to, and plain files
//! in them. A link, or a folder that others may write to, could be anybody's.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

/// Makes `folder`, and those above it that are missing, with mode 0700. One that is there is checked as
/// [`check_folder`] does, and closed to readers.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    check_folder(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// An error for a link, and for a folder that others may write to. No error when nothing is there.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    let Some(meta) = there(folder)? else { return Ok(()) };
    if !meta.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it; make it private with `chmod 700`"));
    }
    Ok(())
}

/// An error for whatever is no plain file: a link would lead elsewhere, and a pipe would be waited for. No error when
/// nothing is there.
pub fn check_file(file: &Path) -> io::Result<()> {
    match there(file)? {
        Some(meta) if !meta.is_file() => Err(io::Error::other("it is not a plain file")),
        _ => Ok(()),
    }
}

/// What is there itself, not what it leads to.
fn there(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_made_or_closed_to_readers() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("a/b");
        check_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&temp.path().join("a"))), (0o700, 0o700));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        make_folder(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn what_could_be_somebody_elses_is_refused_and_left_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let (folder, link, file) =
            (temp.path().join("open"), temp.path().join("link"), temp.path().join("file"));
        fs::create_dir(&folder).unwrap();
        symlink(&folder, &link).unwrap();
        fs::write(&file, "").unwrap();
        for open in [0o770, 0o707] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
            let error = make_folder(&folder).unwrap_err().to_string();
            assert!(error.contains("others may write"), "{error}");
            assert_eq!(mode(&folder), open);
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_folder(&link).is_err() && check_folder(&link).is_err() && check_folder(&file).is_err());
        assert_eq!(mode(&folder), 0o755, "not even its mode is changed through a link");
    }

    #[test]
    fn a_file_is_no_link_and_no_pipe() {
        let temp = tempfile::tempdir().unwrap();
        let (file, link, pipe) =
            (temp.path().join("file"), temp.path().join("link"), temp.path().join("pipe"));
        check_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        check_file(&file).unwrap();
        symlink(&file, &link).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(check_file(&link).is_err() && check_file(&pipe).is_err() && check_file(temp.path()).is_err());
    }
}
