# Very many runs are old, and are not to be deleted: they have ended just now, or have not.
# Retention looks at them a part at a time: nobody waits for that, and what is behind them is
# deleted all the same. (The rows are put there by hand: that is quicker.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $rows = 800000;
my $node = new_node('main', conf => "synchronous_commit = off\nautovacuum = off\nmax_wal_size = 4GB");
add_mock_server(start_mock('mock'));
make_user('other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
my $idle = longest_call('other', sub { 1 });

$node->safe_psql('postgres', qq(
	INSERT INTO agno.runs (run_id, session_id, status, input, model, model_provider, owner, attempt, priority, created_at, finished_at)
		SELECT 'r-' || i, 's-' || i, 'COMPLETED', 'x', 'echo', 'mock', 'other'::regrole, 1, 0, now() - '2 days'::interval + i * '1 ms'::interval, now() + '1 day'::interval FROM generate_series(1, $rows) i;
	INSERT INTO agno.runs (run_id, session_id, status, input, model, model_provider, owner, attempt, priority, created_at, finished_at)
		VALUES ('old', 'old', 'COMPLETED', 'x', 'echo', 'mock', 'other'::regrole, 1, 0, now() - '1 day'::interval, now() - '1 day'::interval)));
$node->append_conf('postgresql.conf', "agno_bg.retention = '1 h'");
$node->reload;
replace_runner();
my $longest = longest_call('other', sub { value("count(*) = 0 FROM agno.runs WHERE run_id = 'old'") eq 't' });
note("idle $idle s, meanwhile $longest s");
cmp_ok($longest, '<', 3 * $idle + 0.3, 'nobody waits for it');
is(value("count(*) FROM agno.runs WHERE run_id = 'old'"), 0, 'what is behind them is deleted');
is(value("count(*) FROM agno.runs WHERE run_id ~ '^r-'"), $rows, 'and nothing else');

$node->stop;
done_testing();
