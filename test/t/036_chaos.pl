# Runs of all kinds over several sessions and two databases, some rolled back
# and some cancelled, while the runner, the server and the model server are
# killed and stopped at random. Afterwards the tables and the model server's own
# log are compared: nothing is lost, nothing happened twice. CHAOS_SECONDS and
# CHAOS_SEED choose how long and what; "make chaos" runs it for longer.
# Waits: for what it has killed and stalled to go on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoChaos;
use Test::More;

chaos($ENV{CHAOS_SECONDS} // 20, $ENV{CHAOS_SEED} // time % 100000);
done_testing();
