# A tool worker puts off calls that somebody's lock has failed, for a moment, and others that
# have failed more often for longer. It comes back to all of them, not only to the first.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 1');
my $mock = start_mock('mock');
add_mock_server($mock);
make_user('busy');
$node->safe_psql('postgres', q(
	CREATE SCHEMA busy AUTHORIZATION busy;
	SET ROLE busy;
	CREATE TABLE busy.counter (n int);
	INSERT INTO busy.counter VALUES (0);
	CREATE FUNCTION busy.called_back(run agno.runs) RETURNS void LANGUAGE plpgsql SET lock_timeout = '100ms'
		AS $$ BEGIN UPDATE busy.counter SET n = n + 1; END $$;
	CREATE FUNCTION busy.tool(word text) RETURNS text LANGUAGE plpgsql SET lock_timeout = '100ms'
		AS $$ BEGIN UPDATE busy.counter SET n = n + 1; RETURN 'done'; END $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('counting', 'mock:tools', '{busy.tool}')));
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'busy' ]);

# These eight runs end soon after a lock is gone that has been there when they were called
# for the first time.
sub all_end
{
	my ($name, $enqueue) = @_;
	my $start;

	$session->query_safe('BEGIN');
	$session->query_safe('UPDATE busy.counter SET n = n');
	$enqueue->($_) foreach 1 .. 8;
	sleep 0.6;
	$session->query_safe('COMMIT');
	$start = time;
	wait_until("$name to end", sub { value("count(*) = 8 FROM agno.runs WHERE run_id ~ '^$name' AND status = 'COMPLETED'") eq 't' });
	note(sprintf('%s: %.2f s', $name, time - $start));
	cmp_ok(time - $start, '<', 5, "$name end soon after the lock is gone");
	return;
}

all_end('callbacks', sub { enqueue("callbacks$_[0]", 'echo', role => 'busy', on_complete => 'busy.called_back') });
all_end('tools', sub { call_tools("tools$_[0]", 'counting', [ [ [ 'tool', { word => 'x' } ] ] ], role => 'busy') });
is(value('n FROM busy.counter'), 16, 'each is called once');

$session->quit;
$node->stop;
done_testing();
