# Reads one archive on a node, once: every byte goes into its SHA-256 and, decompressed, to the program that knows the
# structure. Nothing is written on the node.
#
# Arguments: FILE vma|tar COMPRESSION KIB-PER-SECOND(0: no limit) READER ENDING, the last two being perl.
# Prints `read BYTES` while it works, then `out LINE` of that program, `status READ UNPACK STRUCTURE` and `sha256 SUM`.
export LC_ALL=C
file=$1 kind=$2 compression=$3 limit=$4 reader=$5 ending=$6
renice -n 19 -p $$ >/dev/null 2>&1
ionice -c 3 -p $$ 2>/dev/null
exec 4>&1

# Larger pipes (F_SETPIPE_SZ) mean fewer turns; where they are not given, the small ones do.
unpack() {
    perl -e 'fcntl(STDOUT, 1031, 1 << 20)'
    case $compression in
        none) exec cat ;;
        zstd) exec zstd -q -d -c ;;
        gzip) exec gzip -q -d -c ;;
        lzo) exec lzop -d -c ;;
        bzip2) exec bzip2 -q -d -c ;;
    esac
}

# Other programs' lines can look like anything; a mark in front keeps them from being taken for this script's.
marked() { sed -u -e '/^progress /d' -e 's/^/out /' >&4; }

# OpenSSL uses what the processor has for this; the sha256sum of Debian does not, and would be slower than zstd.
digest() {
    if command -v openssl >/dev/null; then
        exec openssl dgst -sha256 -r
    fi
    exec sha256sum
}

{
    if [ "$kind" = vma ]; then
        perl -e "$reader" "$file" "$limit" | unpack 5>&- | vma verify -v - 2>&1 5>&- | marked 5>&-
        stages=("${PIPESTATUS[@]}")
        echo "status ${stages[0]} ${stages[1]} ${stages[2]}" >&4
    else
        perl -e "$reader" "$file" "$limit" | unpack 5>&- | perl -e "$ending" 5>&- |
            tar -tf - ./etc/vzdump/pct.conf 2>&1 5>&- | marked 5>&-
        stages=("${PIPESTATUS[@]}")
        echo "status ${stages[0]} ${stages[1]} ${stages[3]}" >&4
    fi
} 5>&1 | digest | { read -r sum _ && echo "sha256 $sum" >&4; }
