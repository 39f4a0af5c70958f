# Looks at backup folders without changing anything: one line a file, fields separated by blanks, names in hexadecimal.
#   folder NUMBER ok|gone REASON
#   file NUMBER NAME SIZE MTIME KIND VERDICT WORDS     an archive, or anything else
#   log NUMBER NAME MTIME finished|failed|unknown WORDS
# Archives are shared out among a process for each processor. Each reads the beginnings only. An empty field is `-`.
# To start a program for each of thousands of archives takes longer than all the rest, so one `zstd` gets the first block
# of many archives, each made a whole frame. That can only acquit: whatever is not good that way is asked about again, with
# two blocks, and then by itself.
use strict;
use warnings;
use POSIX ();
use Digest::MD5 ();

my $HEAD = 1 << 20;
my $BLOCK = 1 << 17;

sub hex_of { my $text = substr($_[0] // "", 0, 400); return length $text ? unpack("H*", $text) : "-" }

# Lines go out together, as many as a pipe takes in one piece, so the processes do not mix theirs.
my $said = "";
sub flush_lines { syswrite(STDOUT, $said) if length $said; $said = "" }
sub say_line {
    my $line = join(" ", @_) . "\n";
    flush_lines() if length($said) + length($line) > 4096;
    $said .= $line;
}

sub kind_of {
    my ($head) = @_;
    return "empty" unless length $head;
    # Also with a frame in front that is to be skipped: pzstd writes one.
    return "zstd" if $head =~ /^(?:\x28\xB5\x2F\xFD|[\x50-\x5F]\x2A\x4D\x18)/;
    return "gzip" if $head =~ /^\x1F\x8B/;
    return "lzo" if $head =~ /^\x89LZO/;
    return "bzip2" if $head =~ /^BZh/;
    return "vma" if $head =~ /^VMA\0/;
    return "tar" if length $head >= 512 && substr($head, 257, 5) eq "ustar";
    return "other";
}

# The header of a VMA archive and the configuration in it.
sub vma_verdict {
    my ($head) = @_;
    return ("cut", "only " . length($head) . " bytes can be read") if length $head < 12288;
    my ($version) = unpack("x4 N", $head);
    return ("header", "VMA version $version") if $version != 1;
    my ($at, $used, $size) = unpack("x48 NNN", $head);
    return ("header", "the sizes in it cannot be") if $at < 12288 || $at + $used > $size || $size > $HEAD;
    return ("cut", "the header has $size bytes, only " . length($head) . " can be read") if length $head < $size;
    my $whole = substr($head, 0, $size);
    my $digest = substr($whole, 32, 16, "\0" x 16);
    return ("header", "its checksum is wrong") if Digest::MD5::md5($whole) ne $digest;
    my $blob = sub {
        my ($where) = @_;
        return undef if !$where || $where + 2 > $used;
        my $length = unpack("v", substr($whole, $at + $where, 2));
        return undef if $where + 2 + $length > $used;
        return substr($whole, $at + $where + 2, $length);
    };
    for my $slot (0 .. 255) {
        my $name = $blob->(unpack("N", substr($whole, 2044 + 4 * $slot, 4))) // next;
        $name =~ s/\0.*//s;
        next if $name ne "qemu-server.conf";
        my $text = $blob->(unpack("N", substr($whole, 3068 + 4 * $slot, 4)));
        return ("ok", "") if defined $text && $text =~ /\S/;
    }
    return ("config", "no qemu-server.conf in the header");
}

# The first members of a tar archive.
sub tar_verdict {
    my ($head) = @_;
    my $at = 0;
    while ($at + 512 <= length $head) {
        my $block = substr($head, $at, 512);
        last if $block !~ /[^\0]/;
        my $sum = $block;
        substr($sum, 148, 8) = " " x 8;
        my $told = substr($block, 148, 8);
        $told = $told =~ /^[ ]*([0-7]+)/ ? oct($1) : -1;
        return ("header", "the header at byte $at has a wrong checksum") if unpack("%32C*", $sum) != $told;
        my ($name) = unpack("Z100", $block);
        my $size = substr($block, 124, 12) =~ /^[ ]*([0-7]+)/ ? oct($1) : 0;
        if ($name =~ m{^(?:\./)?etc/vzdump/pct\.conf$}) {
            return ("cut", "the configuration is cut off") if $at + 512 + $size > length $head;
            return substr($head, $at + 512, $size) =~ /\S/ ? ("ok", "") : ("config", "etc/vzdump/pct.conf is empty");
        }
        last if $name ne "./" && $name !~ m{^(?:\./)?etc(?:/|$)};
        $at += 512 + 512 * POSIX::ceil($size / 512);
    }
    return ("cut", "only " . length($head) . " bytes can be read") if length $head < 512;
    return ("config", "no etc/vzdump/pct.conf among the first members");
}

sub verdict_of {
    my ($name, $head) = @_;
    my $kind = kind_of($head);
    return ("empty", "nothing comes out of it") if $kind eq "empty";
    my $wanted = $name =~ /^vzdump-qemu-/ ? "vma" : "tar";
    return ("type", $kind) if $kind ne $wanted && $kind ne "other";
    return $wanted eq "vma" ? (($kind eq "vma") ? vma_verdict($head) : ("header", "it does not begin as a VMA archive does"))
        : tar_verdict($head);
}

# What a program of the node makes of the beginning of a file.
sub by_program {
    my ($path, @command) = @_;
    pipe(my $words_in, my $words_out) or return ("", "pipe: $!");
    my $child = open(my $out, "-|");
    return ("", "fork: $!") unless defined $child;
    if (!$child) {
        open(STDIN, "<", $path) or POSIX::_exit(127);
        open(STDERR, ">&", $words_out);
        exec(@command) or POSIX::_exit(127);
    }
    close($words_out);
    binmode($out);
    my ($head, $wanted) = ("", $BLOCK);
    while (length $head < $wanted) {
        my $count = sysread($out, $head, $wanted - length $head, length $head);
        last unless $count;
        # A header may be longer than the first block: as long as it says, up to a limit.
        if (length $head >= 60 && $head =~ /^VMA\0/) {
            my $size = unpack("x56 N", $head);
            $wanted = $size if $size > $wanted && $size <= $HEAD;
        }
    }
    # It may still be writing; that nobody reads is its end.
    close($out);
    my $words = do { local $/; <$words_in> } // "";
    return ($head, $words);
}

sub look_at {
    my ($folder, $number, $name) = @_;
    my $path = "$folder/$name";
    # A link to an archive is listed with the archive's size; one that leads nowhere is told as what it is.
    my @stat = stat($path);
    @stat = lstat($path) unless @stat;
    return unless @stat;
    my ($size, $mtime) = @stat[7, 9];
    my $report = sub { say_line("file", $number, hex_of($name), $size, $mtime, $_[0], $_[1], hex_of($_[2])) };
    return $report->("folder", "-", "") if -d _;
    return $report->("other", "-", "") unless -f _;
    return $report->("file", "-", "") unless $name =~ /^vzdump-(?:qemu|lxc|openvz)-.*\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)$/;
    return $report->("empty", "empty", "") unless $size;
    my $raw = "";
    open(my $file, "<:raw", $path) or return $report->("unknown", "unreadable", "$!");
    defined(sysread($file, $raw, $BLOCK)) or return $report->("unknown", "unreadable", "$!");
    my $kind = kind_of($raw);
    my ($suffix) = $name =~ /\.(zst|gz|lzo|bz2|tgz)$/;
    my %of = (zst => "zstd", gz => "gzip", tgz => "gzip", lzo => "lzo", bz2 => "bzip2");
    my $wanted = $suffix ? $of{$suffix} : $name =~ /^vzdump-qemu-/ ? "vma" : "tar";
    my $packed = $suffix;
    if ($kind ne $wanted) {
        return $report->($kind, "type", $kind) if $kind ne "other";
        return $report->($kind, $suffix ? ("header", "it does not begin as $wanted does") : verdict_of($name, $raw));
    }
    my ($head, $words) = ($raw, "");
    if ($kind eq "gzip") {
        # To load it takes longer than to look at a hundred other archives.
        require IO::Uncompress::Gunzip;
        no warnings "once";
        my $stream = IO::Uncompress::Gunzip->new($path);
        if ($stream) {
            $head = "";
            # In small pieces: of the one in which the stream breaks nothing is given.
            while (length $head < $BLOCK) {
                my $piece = "";
                last if ($stream->read($piece, 1 << 12) // -1) <= 0;
                $head .= $piece;
            }
            $words = $IO::Uncompress::Gunzip::GunzipError // "";
        } else { ($head, $words) = ("", $IO::Uncompress::Gunzip::GunzipError // "") }
    } elsif ($packed) {
        my %program = (zstd => ["zstd", "-q", "-d", "-c"], lzo => ["lzop", "-d", "-c"], bzip2 => ["bzcat", "-q"]);
        ($head, $words) = by_program($path, @{ $program{$kind} });
    }
    my ($verdict, $said) = verdict_of($name, $head);
    $said .= ($said ne "" ? ": " : "") . $words if $verdict ne "ok" && $verdict ne "type" && $words ne "";
    $report->($kind, $verdict, $said);
}

# The first blocks of a zstd stream as a frame of their own, without size and checksum of the whole.
sub first_blocks {
    my ($path, $blocks) = @_;
    open(my $file, "<:raw", $path) or return "";
    my $raw = "";
    sysread($file, $raw, $blocks * ($BLOCK + 3) + 18);
    return "" unless $raw =~ /^\x28\xB5\x2F\xFD/ && length $raw > 9;
    my $flags = ord substr($raw, 4, 1);
    return "" if $flags & 3;
    my $single = $flags & 0x20;
    my $window = $single ? "\x68" : substr($raw, 5, 1);
    my $at = 5 + ($single ? 0 : 1) + ($single ? 1 : 0, 2, 4, 8)[$flags >> 6];
    my $frame = "\x28\xB5\x2F\xFD\0$window";
    for my $number (1 .. $blocks) {
        return "" if $at + 3 > length $raw;
        my $header = unpack("V", substr($raw, $at, 3) . "\0");
        my ($last, $type, $size) = ($header & 1, $header >> 1 & 3, $header >> 3);
        $size = 1 if $type == 1;
        return "" if $at + 3 + $size > length $raw;
        $frame .= substr(pack("V", $header | ($number == $blocks)), 0, 3) . substr($raw, $at + 3, $size);
        $at += 3 + $size;
        last if $last;
    }
    return $frame;
}

# Archives of zstd, many at a time. Gives back those that are not good in the stream, or stop it.
sub look_at_many {
    my ($blocks, @tasks) = @_;
    my @left;
    while (@tasks) {
        open(my $random, "<:raw", "/dev/urandom") or die "/dev/urandom: $!\n";
        sysread($random, my $mark, 32);
        my $end = "\x28\xB5\x2F\xFD\x20\x20\x01\x01\0$mark";
        pipe(my $packed, my $feed) or die "pipe: $!\n";
        my $program = open(my $out, "-|") // die "fork: $!\n";
        if (!$program) {
            close($feed);
            open(STDIN, "<&", $packed) or POSIX::_exit(127);
            open(STDERR, ">", "/dev/null");
            exec("zstd", "-q", "-d", "-c", "-") or POSIX::_exit(127);
        }
        close($packed);
        binmode($out);
        my $feeder = fork() // die "fork: $!\n";
        if (!$feeder) {
            close($out);
            binmode($feed);
            print $feed first_blocks("$_->[0]/$_->[2]", $blocks) . $end for @tasks;
            close($feed);
            POSIX::_exit(0);
        }
        close($feed);
        my ($buffer, $from) = ("", 0);
        while (@tasks) {
            my $at = index($buffer, $mark, $from);
            if ($at < 0) {
                $from = length $buffer > 32 ? length($buffer) - 32 : 0;
                last unless sysread($out, $buffer, 1 << 18, length $buffer);
                next;
            }
            my $head = substr($buffer, 0, $at, "");
            substr($buffer, 0, 32, "");
            $from = 0;
            my $task = shift @tasks;
            my ($folder, $number, $name) = @$task;
            my ($verdict) = verdict_of($name, $head);
            my @stat = lstat("$folder/$name");
            if ($verdict eq "ok" && @stat) {
                say_line("file", $number, hex_of($name), @stat[7, 9], "zstd", "ok", "-");
            } else {
                push @left, $task;
            }
        }
        close($out);
        waitpid($feeder, 0);
        push @left, shift @tasks if @tasks;
    }
    return @left;
}

# The end of a backup's own log.
sub look_at_log {
    my ($folder, $number, $name) = @_;
    my @stat = lstat("$folder/$name");
    return unless @stat && -f _;
    my $text = "";
    if (open(my $file, "<:raw", "$folder/$name")) {
        seek($file, $stat[7] > 65536 ? -65536 : 0, $stat[7] > 65536 ? 2 : 0);
        read($file, $text, 65536);
    } else { return say_line("log", $number, hex_of($name), $stat[9], "unknown", hex_of("$!")) }
    my ($wrong) = $text =~ /^[^\n]*?\bERROR: ([^\n]*)/m;
    my $ended = defined $wrong ? "failed" : $text =~ /INFO: Finished Backup/ ? "finished" : "unknown";
    say_line("log", $number, hex_of($name), $stat[9], $ended, hex_of($wrong));
}

my $processors = 1;
if (open(my $info, "<", "/proc/cpuinfo")) { $processors = grep { /^processor\b/ } <$info> }
$processors = 1 if $processors < 1;
$processors = 16 if $processors > 16;

my @tasks;
for my $number (0 .. $#ARGV) {
    opendir(my $list, $ARGV[$number]) or do { say_line("folder", $number, "gone", hex_of("$!")); next };
    say_line("folder", $number, "ok", "-");
    push @tasks, map { [$ARGV[$number], $number, $_] } grep { $_ ne "." && $_ ne ".." } sort readdir($list);
}
# Every second name is that of a log, which takes no time: the processes are to have as many archives each.
@tasks = ((grep { $_->[2] !~ /\.log$/ } @tasks), (grep { $_->[2] =~ /\.log$/ } @tasks));

flush_lines();

my @children;
for my $worker (0 .. $processors - 1) {
    my $child = fork() // die "fork: $!\n";
    if (!$child) {
        my @zstd;
        for (my $at = $worker; $at < @tasks; $at += $processors) {
            my ($folder, $number, $name) = @{ $tasks[$at] };
            if ($name =~ /\.log$/) { look_at_log($folder, $number, $name) }
            elsif ($name =~ /^vzdump-(?:qemu|lxc|openvz)-.*\.(?:tar|vma)\.zst$/ && lstat("$folder/$name") && -f _ && -s _) { push @zstd, $tasks[$at] }
            else { look_at($folder, $number, $name) }
        }
        @zstd = look_at_many($_, @zstd) for 1, 2;
        look_at(@$_) for @zstd;
        flush_lines();
        POSIX::_exit(0);
    }
    push @children, $child;
}
my $bad = 0;
for (@children) { waitpid($_, 0); $bad = 1 if $? }
print "end\n" unless $bad;
exit $bad;
