# A role keeps its streamed runs locked: events of other roles' streams go on, and those
# of its own when it lets go.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep);

my ($runs, $node) = (100, new_node('main'));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');

sub events
{
	return value("count(*) FROM agno.run_events WHERE run_id LIKE '$_[0]%'");
}

as('app', "SELECT count(agno_arun(repeat('word ', 2000), run_id => 'app' || i, model => 'mock:words-100', stream => true)) FROM generate_series(1, $runs) i");
as('boss', "SELECT agno_arun(repeat('word ', 2000), run_id => 'boss', model => 'mock:words-100', stream => true)");
ok($node->poll_query_until('postgres', "SELECT count(DISTINCT run_id) > $runs FROM agno.run_events WHERE event = 'RunContent'"), 'all are told of');
my $locker = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
$locker->query_safe("BEGIN; SELECT count(agno_cancel_run('app' || i)) FROM generate_series(1, $runs) i");
# what is being stored just now
sleep 1;
my $before = events('boss');
sleep 8;
my $told = events('boss') - $before;
note($told);
cmp_ok($told, '>', 8, 'others are told of theirs meanwhile');
my $locked = events('app');
$locker->query_safe('ROLLBACK');
$locker->quit;
ok($node->poll_query_until('postgres', "SELECT count(*) > $locked + $runs FROM agno.run_events WHERE run_id LIKE 'app%'"), 'and then the role itself, too');
as($_, q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs)) foreach qw(app boss);
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_queue)'), 'all end');
$node->stop;
done_testing();
