# ALTER EXTENSION agno_bg UPDATE makes of 1.0, with all that its library left in the
# tables when its server was killed, what CREATE EXTENSION makes: the same objects,
# comments and privileges. What was in the queue or in flight goes on without a restart.

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
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(fresh old);

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
	$node->safe_psql($database,
		($database eq 'old' ? 'SET ROLE by_hand; ' : '')
		. "GRANT EXECUTE ON FUNCTION $arun TO granted");
}

# What a statement of this role gives in the updated database.
sub old_as
{
	my ($role, $sql) = @_;
	return $node->safe_psql('old', $sql, extra_params => [ '-U', $role ]);
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
my $ended = q{
	SELECT run_id, md5(r::text) FROM agno.runs r
	WHERE run_id IN ('done-1', 'done-2', 'streamed', 'dict', 'failed', 'cancelled', 'others')
	ORDER BY 1};
my $before = $node->safe_psql('old', $ended);

# Functions that somebody else has put where he may, of the names that are called
$node->safe_psql('postgres', 'CREATE ROLE evil LOGIN');
$node->safe_psql('old', 'GRANT CREATE ON SCHEMA public TO evil');
$node->safe_psql('old', q(CREATE ROLE leaves; SELECT agno_grant_usage('leaves')));
my $evil = q{ RETURNS integer LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE evil SUPERUSER'; RETURN 1; END $$};
$node->safe_psql('old', join(';', map { "CREATE FUNCTION public.$_ $evil" } 'agno_grant_usage(text)', 'agno_arun_1_0()', 'agno_run_events(integer)'),
	extra_params => [ '-U', 'evil' ]);
my (undef, undef, $warnings) = $node->psql('old', 'ALTER EXTENSION agno_bg UPDATE',
	extra_params => [ '-U', 'admin' ]);
is($node->safe_psql('old', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'evil')), 'f', 'nothing of others is executed');
$node->safe_psql('old', 'DROP OWNED BY leaves');
is(($node->psql('old', 'DROP ROLE leaves'))[2], '', 'who had usage can be dropped');
$node->safe_psql('old', 'DROP OWNED BY evil; REVOKE CREATE ON SCHEMA public FROM evil');
like($warnings, qr/WARNING:  agent "$_" has lost its time zone/,
	"what is no name of a time zone is told of: $_")
  foreach qw(posix rules);
unlike($warnings, qr/ERROR|agent "helper"/, 'and nothing else');

# The objects
my @paths = map { objects($_) } qw(fresh old);
my $difference = `diff -U5 @paths`;
is($difference, '', 'all objects are as CREATE EXTENSION makes them');
cmp_ok(scalar(() = slurp_file($paths[0]) =~ /^-- Name: /mg), '>', 400,
	'those were many');

# What goes on
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
	'ready' => [ 'COMPLETED', 'You said: ready', 1 ]);
foreach my $run (sort keys %expected)
{
	my ($status, $content, $attempt) = @{ $expected{$run} };
	expect_run($run, { status => $status, content => $content, attempt => $attempt },
		"$run goes on", database => 'old');
}

expect_run('background', { status => 'ERROR', "error ->> 'http_status'" => 404 },
	'a run in the background ends as its model server says', database => 'old');
my $response = value("response_id FROM agno.run_requests WHERE run_id = 'background'", 'old');
is_deeply([ map { $_->{method} } grep { $_->{event} eq 'request' && $_->{path} =~ /\Q$response\E$/ } mock_log('mock') ],
	['GET'], 'which was asked for the response that 1.0 had begun');
$node->poll_query_until('old', "SELECT string_agg(event, ' ' ORDER BY seq) = 'RunStarted RunContent RunRetried RunContent'
	FROM agno.run_events WHERE run_id = 'executing-streamed'")
  or die 'the streamed run does not go on';
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
is($node->safe_psql('old', $ended), $before, 'what had ended is as it was');
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
$node->stop;
done_testing();
