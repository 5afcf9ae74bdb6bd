# agno_bg.tool_timeout is as long as it can be, for no limit: the functions of runs that
# have ended are called all the same.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.tool_timeout = 2147483647\n");
add_mock_server(start_mock('mock'));
make_user('alice');
$node->safe_psql('postgres', q(
	CREATE TABLE told (run_id text);
	GRANT ALL ON told TO alice;
	CREATE FUNCTION tell(run_id text) RETURNS void LANGUAGE sql AS 'INSERT INTO told VALUES ($1)'));
as('alice', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'r', on_complete => 'public.tell')));
expect_run('r', { status => 'COMPLETED', error => undef }, 'the run ends');
is(value("string_agg(run_id, ',') FROM told"), 'r', 'its function is called');

$node->stop;
done_testing();
