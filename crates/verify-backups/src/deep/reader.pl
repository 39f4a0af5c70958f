# Hands a file on to standard output and to descriptor 5, and says on descriptor 4 how far it is. Whoever reads standard
# output may end early: the rest is still read, for the sum and to hear what the medium says.
# Both get the pages that the file was read into, by splice and tee, which copy nothing: with each byte copied three times
# this took longer than to decompress. Where that cannot be had, the bytes are copied.
use strict;
use Time::HiRes qw(time sleep);
my ($file, $limit) = @ARGV;
$SIG{PIPE} = "IGNORE";
open(my $sum, ">&=", 5) or die "descriptor 5: $!\n";
open(my $news, ">&=", 4) or die "descriptor 4: $!\n";
pipe(my $taken, my $filled) or die "pipe: $!\n";
fcntl($_, 1031, 1 << 20) for $sum, \*STDOUT, $filled;
my $in;
if (!open($in, "<:raw", $file)) {
    syswrite($news, ($!{ENOENT} ? "gone" : "failed 0 $!") . "\n");
    exit 3;
}
my ($splice, $tee) = eval { require "syscall.ph"; (&SYS_splice, &SYS_tee) };
my $piece = 1 << 20;
$piece = $limit * 256 if $limit && $limit * 256 < $piece;
my ($read, $next, $begun, $wanted, $data) = (0, 0, time, 1, "");

sub spliced {
    my ($from, $to, $length) = @_;
    my $count = syscall($splice, fileno($from), 0, fileno($to), 0, $length, 0);
    return $count < 0 ? undef : $count;
}

sub put {
    my ($to) = @_;
    my $at = 0;
    while ($at < length $data) {
        my $count = syswrite($to, $data, length($data) - $at, $at);
        return 0 unless defined $count;
        $at += $count;
    }
    return 1;
}

# The next piece: the bytes that were taken, none at the end, undefined when the medium fails.
sub take {
    if ($splice) {
        my $count = spliced($in, $filled, $piece);
        return $count if defined $count || $read || !$!{EINVAL};
        undef $splice;
    }
    return sysread($in, $data, $piece);
}

# Gives the piece that was taken to both.
sub give {
    my ($left) = @_;
    if (!$splice) {
        put($sum) or exit 6;
        $wanted &&= put(\*STDOUT);
        return;
    }
    while ($left) {
        my $part = $wanted ? syscall($tee, fileno($taken), fileno(STDOUT), $left, 0) : $left;
        if ($part < 1) {
            $wanted = 0;
            $part = $left;
        }
        $left -= $part;
        while ($part) {
            my $count = spliced($taken, $sum, $part) or exit 6;
            $part -= $count;
        }
    }
}

while (1) {
    my $count = take();
    if (!defined $count) {
        syswrite($news, "failed $read $!\n");
        exit 5;
    }
    last unless $count;
    give($count);
    $read += $count;
    my $now = time;
    if ($now >= $next) {
        syswrite($news, "read $read\n");
        $next = $now + 0.5;
    }
    if ($limit) {
        my $ahead = $read / ($limit * 1024) - ($now - $begun);
        sleep($ahead) if $ahead > 0;
    }
}
syswrite($news, "read $read\n");
