# Copies of a database: a hot standby that answers and, when it is promoted,
# goes on with what was pending; a dump that is restored; and a logical
# subscriber, which receives runs and executes none, but those of its own.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', init => { allows_streaming => 'logical' });
my $url = start_mock('mock');
add_mock_server($node, $url);
$node->safe_psql('postgres', q(
	INSERT INTO agno.agents (agent_id, model, instructions)
		VALUES ('helper', 'mock:echo', '{Be brief.}');
	SELECT agno_arun('done', agent_id => 'helper', run_id => 'done',
		session_id => 'talk');
	SELECT agno_arun('failed', model => 'mock:status-400', run_id => 'failed')));
wait_run($node, $_) foreach qw(done failed);
$node->safe_psql('postgres', q(
	SELECT agno_arun('flies', model => 'mock:gate', run_id => 'flies',
		session_id => 'talk');
	SELECT agno_arun('waits', model => 'mock:echo', run_id => 'waits',
		session_id => 'talk', metadata => '{"a": 1}');
	SELECT agno_arun('later', model => 'mock:echo', run_id => 'later',
		run_at => now() + '1 day');
	SELECT agno_cancel_run('unborn')));
wait_for_request('flies');

# What a copy has of it.
my $runs = "SELECT string_agg(run_id || ' ' || status, ', ' ORDER BY run_id)
	FROM agno.runs";
my $all = 'done COMPLETED, failed ERROR, flies RUNNING, later PENDING, waits PENDING';
my $marker = "SELECT count(*) FROM agno.cancellations WHERE run_id = 'unborn'";

# A standby, from a base backup
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $runs), $all, 'a standby has the runs');
is( $standby->safe_psql('postgres',
		"SELECT status, content FROM agno_get_run_output('done')"),
	'COMPLETED|You said: done', 'a standby answers agno_get_run_output');
my ($ret, $out, $err) = $standby->psql('postgres',
	"SELECT agno_arun('no', model => 'mock:echo')");
like($err, qr/cannot execute agno_arun\(\) (in|during) /,
	'a standby accepts no runs');

# A dump, restored elsewhere while the original goes on
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ],
	'pg_dump dumps the database');
my $restored = new_node('restored', no_extension => 1);
$restored->safe_psql('postgres', 'ALTER SYSTEM SET agno_bg.paused = on');
$restored->reload;
$restored->command_ok(
	[
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump,
		$restored->connstr('postgres')
	],
	'psql restores the dump');
ok( $restored->poll_query_until('postgres', $runs,
		$all =~ s{flies RUNNING}{flies PENDING}r),
	'a restored database has the runs, and starts again what was in flight');
is($restored->safe_psql('postgres', $marker), 1,
	'a restored database has the marker');
is( $restored->safe_psql('postgres',
		"SELECT instructions FROM agno.agents WHERE agent_id = 'helper'"),
	'{"Be brief."}', 'a restored database has the agent');
is( $restored->safe_psql('postgres', q(SELECT metadata, session_id,
		(SELECT count(*) FROM agno.sessions s WHERE s.session_id = r.session_id)
		FROM agno.runs r WHERE run_id = 'waits')),
	'{"a": 1}|talk|1', 'a restored database has the session of the run');

# A logical subscriber
my $subscriber = new_node('subscriber', init => { allows_streaming => 'logical' });
add_mock_server($subscriber, $url);
$node->safe_psql('postgres', q(
	CREATE TABLE tickets (id int PRIMARY KEY);
	CREATE PUBLICATION everything FOR ALL TABLES));
$subscriber->safe_psql('postgres', q(
	CREATE TABLE tickets (id int PRIMARY KEY);
	CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM public.agno_arun('about it', model => 'mock:echo', run_id => 'ticket' || new.id);
		RETURN NULL; END $$;
	CREATE TRIGGER ask AFTER INSERT ON tickets FOR EACH ROW EXECUTE FUNCTION ask();
	ALTER TABLE tickets ENABLE ALWAYS TRIGGER ask));
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION subscription CONNECTION \$\$@{[ $node->connstr('postgres') ]}\$\$
		PUBLICATION everything");
$subscriber->wait_for_subscription_sync($node, 'subscription');
is($subscriber->safe_psql('postgres', $runs), $all, 'a subscriber has the runs');
$node->safe_psql('postgres',
	"SELECT agno_arun('published', model => 'mock:slow-1000', run_id => 'published')");
wait_for_request('published');
$node->wait_for_catchup('subscription');
$subscriber->safe_psql('postgres',
	"SELECT agno_arun('own', model => 'mock:echo', run_id => 'own')");
is(wait_run($subscriber, 'own'), 'COMPLETED',
	'a subscriber executes runs of its own');
$node->safe_psql('postgres', 'INSERT INTO tickets VALUES (1)');
$node->wait_for_catchup('subscription');
is(wait_run($subscriber, 'ticket1'), 'COMPLETED',
	'and those that a trigger enqueues for what it receives');
my $old = $subscriber->safe_psql('postgres', "SELECT pid FROM agno.workers WHERE kind = 'runner'");
$subscriber->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
ok($subscriber->poll_query_until('postgres', "SELECT count(*) = 1 FROM agno.workers WHERE kind = 'runner' AND pid <> $old AND state = 'running'"),
	'another runner looks for what may have been lost');
$subscriber->safe_psql('postgres', "SELECT agno_arun('own', model => 'mock:echo', run_id => 'own too')");
is(wait_run($subscriber, 'own too'), 'COMPLETED', 'and executes runs of its own');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM agno.run_queue'),
	0, 'a subscriber has no runs of the publisher in its queue');

# The original ends, the standby takes over.
is(wait_run($node, 'published'), 'COMPLETED',
	'the publisher executes its own run');
$node->wait_for_catchup('subscription');
is( $subscriber->safe_psql('postgres',
		"SELECT content FROM agno_get_run_output('published')"),
	'You said: published', 'the subscriber receives the end of that run');
is(mock_count('mock', 'published'), 1,
	'the run of the publisher was sent once');
$subscriber->stop;

$node->wait_for_catchup('standby');
$node->stop('immediate');
append_to_file("$PostgreSQL::Test::Utils::tmp_check/mock.log.gate", '');
$standby->promote;
foreach my $run (qw(flies waits))
{
	is(wait_run($standby, $run), 'COMPLETED',
		"the run $run completes on the promoted standby");
}
$standby->safe_psql('postgres',
	"SELECT agno_arun('unborn', model => 'mock:echo', run_id => 'unborn')");
is(wait_run($standby, 'unborn'), 'CANCELLED',
	'the promoted standby knows its markers');
is(run_status($standby, 'later'), 'PENDING',
	'the promoted standby leaves alone what is scheduled');
is(mock_count('mock', 'done'), 1,
	'what had ended is not executed again by the standby');
$standby->stop;

# The restored one may go on, too.
$restored->safe_psql('postgres', 'ALTER SYSTEM SET agno_bg.paused = off');
$restored->reload;
foreach my $run (qw(flies waits))
{
	is(wait_run($restored, $run), 'COMPLETED',
		"the run $run completes in the restored database");
}
is(mock_count('mock', 'done') + mock_count('mock', 'failed'), 1 + 1,
	'what had ended is not executed again by the restored database');
$restored->stop;
done_testing();
