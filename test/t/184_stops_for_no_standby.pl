# The server stops while its runner waits for a synchronous standby that is not there:
# it does stop, as it does when backends wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', init => { allows_streaming => 1 });
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(ALTER SYSTEM SET synchronous_standby_names = 'nobody'));
$node->reload;
ok($node->poll_query_until('postgres', q(SELECT setting = 'nobody' FROM pg_settings WHERE name = 'synchronous_standby_names')), 'commits wait for a standby');
$node->safe_psql('postgres', q(SET synchronous_commit = local; SELECT agno_arun('x', model => 'mock:echo', run_id => 'x')));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'agno_bg runner' AND wait_event = 'SyncRep')), 'so does the runner');
my $start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 20, 'the server stops');
$node->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''\n");
$node->start;
is(wait_run('x'), 'COMPLETED', 'and its run goes on afterwards');
$node->stop;
done_testing();
