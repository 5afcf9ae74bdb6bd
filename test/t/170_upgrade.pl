# ALTER EXTENSION agno_bg UPDATE makes of 1.0, with all that its library left in the
# tables when its server was killed, what CREATE EXTENSION makes: the same objects,
# comments and privileges. It waits for open transactions and can be rolled back. Until
# then the library stays away from the database, and afterwards runs go on without a
# restart.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');

$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN")
  foreach qw(app other by_hand granted);
$node->safe_psql('postgres', 'CREATE ROLE admin SUPERUSER LOGIN');
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(fresh late old);

# What users have done with the extension: granted privileges, by agno_grant_usage and by
# hand, and defined model servers. The arguments of agno_arun end with these.
sub set_up
{
	my ($database, $last_arguments, $more) = @_;
	my $arun = 'agno_arun(text, text, text, text, text, text, jsonb, jsonb, jsonb, '
	  . "jsonb, boolean, integer, timestamptz, interval, integer, $last_arguments)";

	add_mock_server($url, database => $database);
	$node->safe_psql($database, qq{
		CREATE SERVER narrow FOREIGN DATA WRAPPER agno_bg
			OPTIONS (api 'openai-responses', base_url '$url', max_concurrency '1');
		CREATE USER MAPPING FOR PUBLIC SERVER narrow OPTIONS (api_key 'sk-mock');
		GRANT USAGE ON FOREIGN SERVER narrow TO PUBLIC;
		SELECT agno_grant_usage('app'), agno_grant_usage('other');
		GRANT EXECUTE ON FUNCTION $arun, agno_run_events(text, bigint),
			agno.check_output_schema(jsonb) TO by_hand WITH GRANT OPTION;
		GRANT EXECUTE ON FUNCTION agno_get_run_output(text, text) TO PUBLIC;
		GRANT SELECT ON agno.workers, agno.stats, agno.run_queue TO by_hand;
		$more});
	# a new version keeps the privilege, but not whose it was to give
	$node->safe_psql($database, "GRANT EXECUTE ON FUNCTION $arun TO granted",
		extra_params => [ '-U', $database eq 'old' ? 'by_hand' : 'admin' ]);
}

# Write all that is in a database into a file, as pg_upgrade would make it anew: each
# object of the extension, with its privileges, those which it came with as such. Without
# what is by chance: OIDs, transactions, the order. Returns the path.
sub objects
{
	my ($database) = @_;
	my $path = "$PostgreSQL::Test::Utils::tmp_check/$database.sql";

	system_or_bail('pg_dump', '--binary-upgrade', '--schema-only', '-f', $path,
		'-d', $node->connstr($database));
	my $dump = slurp_file($path) =~ s/^\\(?:un)?restrict .*\n//mgr;
	$dump =~ s/^SELECT pg_catalog.binary_upgrade_set_(?:next|missing)_.*\n//mg;
	$dump =~ s/^-- set missing value\.\n+//mg;
	$dump =~ s/^-- For binary upgrade, set \w+'s relfrozenxid .*\n(?:.+\n)+//mg;
	$dump =~ s/^(SELECT pg_catalog.binary_upgrade_create_empty_extension\([^{]*)'\{[\d,]*\}'/$1/m
	  or die 'no extension in the dump';
	unlink $path;
	append_to_file($path, join '', sort split /^--\n(?=-- Name: )/m,
		$dump =~ s/^\n+//mgr);
	append_to_file($path, $node->safe_psql($database, q{
		SELECT c.oid::regclass, c.condition
		FROM pg_extension x, unnest(x.extconfig, x.extcondition) AS c (oid, condition)
		WHERE x.extname = 'agno_bg' ORDER BY c.oid::regclass::text}) . "\n");
	return $path;
}

$node->safe_psql('fresh', 'CREATE EXTENSION agno_bg');
set_up('fresh', 'text, text', 'GRANT EXECUTE ON FUNCTION agno.told_events(agno.runs),
	agno.check_time_zone(text) TO by_hand WITH GRANT OPTION');
$node->safe_psql('old', "CREATE EXTENSION agno_bg VERSION '1.0'");
set_up('old', 'text', '');
$node->safe_psql('old', slurp_file("$FindBin::Bin/../upgrade/data_1.0.sql"));
$node->safe_psql('old', qq{
	-- a marker is kept for a day
	UPDATE agno.cancellations SET requested_at = now();
	UPDATE agno.run_queue SET run_at = now() WHERE run_at < '2999-01-01'});
my $states = 'SELECT run_id, state FROM agno.run_queue ORDER BY 1';
my $runs = "SELECT run_id, md5(r::text) FROM agno.runs r ORDER BY 1";
my %before = map { $_ => $node->safe_psql('old', $_) } $states, $runs;

# Before the update
my $session = $node->background_psql('old', on_error_stop => 0,
	extra_params => [ '-U', 'app' ]);
my ($out) = $session->query("PREPARE output AS SELECT status FROM agno_get_run_output('done-1');
	SELECT agno_arun('x', model => 'mock:echo'); EXECUTE output");
is($out, 'COMPLETED', 'what needs no library can be called');
like($session->{stderr},
	qr/"agno_bg" is of version 1\.0, its library of version 1\.1.*ALTER EXTENSION agno_bg UPDATE/s,
	'agno_arun says what to do');
$session->{stderr} = '';
wait_until('the line in the log', sub {
	logged(qr/executes no runs in database "old"/) });

# Locks, and a rollback
my $owner = value('extowner::regrole FROM pg_extension WHERE extname = \'agno_bg\'', 'old');
my (undef, undef, $err) = $node->psql('old', 'ALTER EXTENSION agno_bg UPDATE',
	extra_params => [ '-U', 'admin' ]);
like($err, qr/must be updated by its owner\nHINT:  SET ROLE $owner,/,
	'all objects are to have one owner');
$session->query_safe('BEGIN; SELECT count(*) FROM agno.agents');
(undef, undef, $err) = $node->psql('old',
	"SET lock_timeout = '100ms'; ALTER EXTENSION agno_bg UPDATE");
like($err, qr/canceling statement due to lock timeout/,
	'the update waits for a transaction that has read agno.agents');
$session->query_safe('COMMIT');
$node->safe_psql('old', 'CREATE VIEW mine AS SELECT hour, runs FROM agno.stats');
(undef, undef, $err) = $node->psql('old', 'ALTER EXTENSION agno_bg UPDATE');
like($err, qr/DETAIL:  view public\.mine depends on view agno\.stats\nHINT:  Drop them, update, and create them again/,
	'a view of a user that uses what is replaced is named');
is( $node->safe_psql('old', "DROP VIEW mine; BEGIN; SET LOCAL search_path = public, agno;
		SET LOCAL client_min_messages = error; ALTER EXTENSION agno_bg UPDATE; SHOW search_path;
		SELECT (agno_arun('x', model => 'mock:echo')).status; ROLLBACK"),
	"public, agno\nPENDING", 'the transaction of the update can go on');
is($node->safe_psql('old', $_), $before{$_}, 'a rollback leaves all as it was')
  foreach $states, $runs;
is(value("extversion FROM pg_extension WHERE extname = 'agno_bg'", 'old'),
	'1.0', 'and the version');

$session->query_safe('BEGIN; SELECT count(*) FROM agno.agents');
my $update = $node->background_psql('old', on_error_stop => 0,
	extra_params => [ '-U', 'admin' ]);
$update->query_until(qr/go/, "SET ROLE $owner;
\\echo go
ALTER EXTENSION agno_bg UPDATE;
\\echo done
");
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query = 'ALTER EXTENSION agno_bg UPDATE;' AND wait_event_type = 'Lock'")
  or die 'the update does not wait';
is($node->safe_psql('fresh', "SELECT status FROM agno_arun('x', model => 'mock:echo', run_id => 'x')"),
	'PENDING', 'while it waits, another database accepts runs');
is(wait_run('x', 'fresh'), 'COMPLETED', 'and executes them');
is(logged(qr/executes no runs in database "old"/), 1,
	'the log has said once that runs wait');
$session->query_safe('COMMIT');
$update->query_until(qr/done/, "\n");
like($update->{stderr}, qr/WARNING:  agent "$_" has lost its time zone/,
	"what is no name of a time zone is told of: $_")
  foreach qw(posix rules);
unlike($update->{stderr}, qr/ERROR|agent "helper"/, 'and nothing else');
$update->quit;

# The objects
my @paths = map { objects($_) } qw(fresh old);
my $difference = `diff -U5 @paths`;
is($difference, '', 'all objects are as CREATE EXTENSION makes them');
cmp_ok(scalar(() = slurp_file($paths[0]) =~ /^-- Name: /mg), '>', 400,
	'those were many');

# What goes on
is($session->query('EXECUTE output'), 'COMPLETED', 'a prepared statement goes on');
like($session->query("SELECT agno_arun('x', model => 'mock:echo', run_id => 'new')"),
	qr/PENDING/, 'and so does the session that could not enqueue');
$session->quit;
open_gate();
# With nobody to say whose fault the crash was, it counts as an attempt of all.
my %expected = (
	'executing' => [ 'COMPLETED', 'You said: flying', 2 ],
	'waiting' => [ 'COMPLETED', 'You said: after it', 1 ],
	'executing-cancelled' => [ 'CANCELLED', 'Run executing-cancelled was cancelled', 1 ],
	'narrow-1' => [ 'COMPLETED', 'You said: wide', 2 ],
	'parked' => [ 'COMPLETED', 'You said: parked', 1 ],
	'locked' => [ 'COMPLETED', 'You said: locked', 1 ],
	'scheduled' => [ 'COMPLETED', 'You said: three', 1 ],
	'ready' => [ 'COMPLETED', 'You said: ready', 1 ],
	'new' => [ 'COMPLETED', 'You said: x', 1 ]);
foreach my $run (sort keys %expected)
{
	my ($status, $content, $attempt) = @{ $expected{$run} };
	expect_run($run, { status => $status, content => $content, attempt => $attempt },
		"$run goes on", database => 'old');
}
sub old_as
{
	my ($role, $sql) = @_;
	return $node->safe_psql('old', $sql, extra_params => [ '-U', $role ]);
}

expect_run('background', { status => 'ERROR', "error ->> 'http_status'" => 404 },
	'a run in the background ends as its model server says', database => 'old');
my $response = value("response_id FROM agno.run_requests WHERE run_id = 'background'", 'old');
is_deeply([ map { $_->{method} } grep { $_->{event} eq 'request' && $_->{path} =~ /\Q$response\E$/ } mock_log('mock') ],
	['GET'], 'which was asked for the response that 1.0 had begun');
is(old_as('app', "SELECT agno_cancel_run('executing-streamed')"), 't',
	'a streamed run that was in flight is cancelled');
expect_run('executing-streamed', { status => 'CANCELLED' }, 'and ends so', database => 'old');
is(old_as('app', "SELECT count(*) = max(seq) AND count(*) > 4 FROM agno_run_events('executing-streamed')"),
	't', 'its events have no gap');
is(value("string_agg(m ->> 'content', ', ') FROM agno.runs, jsonb_array_elements(messages) m
		WHERE run_id = 'scheduled' AND m ->> 'role' = 'user'", 'old'),
	'one, two, three', 'a session has its history');
is(value("concat_ws(' ', run_id, state, owner, runner) FROM agno.run_queue", 'old'),
	'later s app 0', 'what is to start later is in the queue');
is($node->safe_psql('old', "SELECT run_id, md5(r::text) FROM agno.runs r
		WHERE run_id IN ('done-1', 'done-2', 'streamed', 'dict', 'failed', 'cancelled', 'others') ORDER BY 1"),
	join("\n", grep { /^(done-.|streamed|dict|failed|cancelled|others)\|/ } split /\n/, $before{$runs}),
	'what had ended is as it was');
is(old_as('app', "SELECT count(*) FROM agno_run_events('streamed')"), 3, 'events are kept');
is(old_as('app', "SELECT string_agg(event, ' ') FROM agno_run_events('done-1')"),
	'RunStarted RunContent RunCompleted', 'and told of runs that were not streamed');

# Who had usage has that of 1.1.
is(value("bool_and(has_function_privilege(r, f, 'EXECUTE'))
		FROM agno.usage_routines() f, unnest('{app,other}'::name[]) r", 'old'),
	't', 'roles with usage may call all that agno_grant_usage grants now');
is(old_as('app', "SELECT run_id FROM agno_arun('cities', model => 'mock:echo', idempotency_key => 'key',
		output_schema => '{\"type\": \"object\"}')"),
	'dict', 'an idempotency key still stands for its run');
old_as('app', "SELECT agno_arun('x', model => 'mock:echo', run_id => 'unborn')");
expect_run('unborn', { status => 'CANCELLED' }, 'a marker still cancels', database => 'old');
is(old_as('app', "SELECT status FROM agno_requeue_run('failed')"), 'PENDING', 'a run can be requeued');
is(wait_run('failed', 'old'), 'ERROR', 'and is executed');
is(value("string_agg(agent_id, ' ' ORDER BY agent_id) FROM agno.agents WHERE timezone_identifier IS NULL", 'old'),
	'posix rules tooled', 'agents have no wrong time zones');
old_as('other', "INSERT INTO agno.agents (agent_id, model, timezone_identifier) VALUES ('mine', 'mock:echo', 'Europe/Rome')");
is(old_as('other', "SELECT status FROM agno_arun('x', agent_id => 'mine', run_id => 'mine')"),
	'PENDING', 'an agent can be defined and used');
is(wait_run('mine', 'old'), 'COMPLETED', 'and answers');

# Without the library
$node->safe_psql('late', "CREATE EXTENSION agno_bg VERSION '1.0'");
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
(undef, undef, $err) = $node->psql('late', 'ALTER EXTENSION agno_bg UPDATE');
like($err, qr/has not loaded the library of agno_bg 1\.1\nHINT:  .*restart/,
	'where the library of 1.1 is not loaded, the update says so');
$node->stop;
done_testing();
