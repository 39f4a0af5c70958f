# Copies a file to standard output and to descriptor 5, and says on descriptor 4 how far it is. Whoever reads standard
# output may end early: the rest is still read, for the sum and to hear what the medium says.
use strict;
use Time::HiRes qw(time sleep);
my ($file, $limit) = @ARGV;
$SIG{PIPE} = "IGNORE";
open(my $sum, ">&=", 5) or die "descriptor 5: $!\n";
open(my $news, ">&=", 4) or die "descriptor 4: $!\n";
fcntl($_, 1031, 1 << 20) for $sum, \*STDOUT;
my $in;
if (!open($in, "<:raw", $file)) {
    syswrite($news, ($!{ENOENT} ? "gone" : "failed 0 $!") . "\n");
    exit 3;
}
my $piece = 1 << 20;
$piece = $limit * 256 if $limit && $limit * 256 < $piece;
my ($read, $next, $begun, $wanted, $data) = (0, 0, time, 1, "");
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
while (1) {
    my $count = sysread($in, $data, $piece);
    if (!defined $count) {
        syswrite($news, "failed $read $!\n");
        exit 5;
    }
    last unless $count;
    put($sum) or exit 6;
    $wanted &&= put(\*STDOUT);
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
