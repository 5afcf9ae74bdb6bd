# A tool lives on when the time of its run is over, and the run is requeued: what it says
# about the state of the session then is refused, so that nobody who has the run in flight
# waits for its transaction.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE FUNCTION stays() RETURNS text LANGUAGE plpgsql AS $$
		DECLARE its int; tries int := 0;
		BEGIN
			SELECT attempt INTO its FROM agno.runs WHERE run_id = current_setting('agno_bg.run_id');
			IF its > 1 THEN RETURN 'later'; END IF;
			PERFORM agno_update_session_state('{"now": true}');
			RAISE LOG 'the first is accepted';
			LOOP
				BEGIN
					PERFORM pg_sleep(0.01);
					EXIT WHEN (SELECT status <> 'RUNNING' FROM agno.runs WHERE run_id = current_setting('agno_bg.run_id'));
				EXCEPTION WHEN query_canceled THEN tries := tries + 1; END;
			END LOOP;
			BEGIN
				PERFORM agno_update_session_state('{"late": true}');
				RAISE LOG 'the second is accepted';
			EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE LOG 'the second is refused: %', SQLERRM;
			END;
			RETURN 'too late';
		END $$;
	INSERT INTO agno.agents (agent_id, model, tools, timeout) VALUES ('a', 'mock:tools', '{stays}', '1 s')));
enqueue('late', 'mock:tools', agent_id => 'a', input => '{"calls": [[{"name": "stays", "arguments": {}}]]}');
expect_run('late', { status => 'ERROR', "error->>'type'" => 'timeout' }, 'the time of the run is over');
$node->wait_for_log(qr/the second is (accepted|refused)/);
my $log = slurp_file($node->logfile);
like($log, qr/the first is accepted/, 'the call is heard as long as the run waits for it');
like($log, qr/the second is refused: the run goes on, or has ended, without this call/, 'and is not when it does not');
is(value("status FROM agno_requeue_run('late')"), 'PENDING', 'it is requeued');
expect_run('late', { status => 'COMPLETED' }, 'and goes on');

$node->stop;
done_testing();
