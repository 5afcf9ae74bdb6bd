# A callback fails while somebody waits for its row, and then has it locked: its tool
# worker waits for nobody, and goes on with others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.max_tool_workers = 1\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE TABLE now_on (x integer);
	GRANT SELECT ON now_on TO app;
	CREATE FUNCTION fails(run agno.runs) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM now_on) THEN
			PERFORM pg_advisory_xact_lock(42); RAISE 'again' USING ERRCODE = '40001';
		END IF; END $$;
	CREATE FUNCTION works(run agno.runs) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$));
my ($holder, $session) = map { $node->background_psql('postgres') } 1 .. 2;
$holder->query_safe('SELECT pg_advisory_lock(42)');
as('app', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'fails', on_complete => 'public.fails')));
is(wait_run('fails'), 'COMPLETED', 'a run ends and is called back');
$node->safe_psql('postgres', 'INSERT INTO now_on VALUES (1)');
as('app', q(SELECT agno_requeue_callback('fails')));
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)), 'once more');
$session->query_until(qr/go/, "SET ROLE app;\nBEGIN;\n\\echo go\nSELECT agno_requeue_callback('fails');\n");
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)), 'somebody waits for its row');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
$session->query_safe('SELECT 1');
as('app', q(SELECT agno_arun('y', model => 'mock:echo', run_id => 'works', on_complete => 'public.works')));
expect_run('works', { status => 'COMPLETED' }, 'others are called back while that has it');
is(value(q(count(*) FROM pg_locks l JOIN agno.workers w ON w.pid = l.pid WHERE NOT l.granted)), 0, 'no tool worker waits for a lock');
$session->query_safe('ROLLBACK');
$holder->quit;
$session->quit;
$node->stop;
done_testing();
