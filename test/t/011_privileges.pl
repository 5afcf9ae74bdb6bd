# Nothing is for PUBLIC but one's own rows. A role with usage enqueues, polls,
# waits for and cancels its own runs and those of roles whose rights it has,
# and does not see those of others. A session belongs to the role and the
# user_id that opened it. The server must be granted, too.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
make_user(qw(alice bob));
$node->safe_psql(
	'postgres', qq(
	CREATE ROLE boss LOGIN IN ROLE alice;
	CREATE ROLE nobody LOGIN;
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url');
	CREATE USER MAPPING FOR alice SERVER mock OPTIONS (api_key 'sk-alice');
	CREATE USER MAPPING FOR PUBLIC SERVER mock OPTIONS (api_key 'sk-public');
	GRANT USAGE ON FOREIGN SERVER mock TO alice));

# Without usage
is(outcome_as('nobody', "SELECT agno_arun('x')"), '42501',
	'a role without usage cannot call agno_arun');
is(outcome_as('nobody', "SELECT agno_cancel_run('x')"), '42501',
	'a role without usage cannot call agno_cancel_run');
is(outcome_as('nobody', "SELECT agno_wait_run('x')"), '42501',
	'a role without usage cannot call agno_wait_run');
is(outcome_as('nobody', "CALL agno_run('x')"), '42501',
	'a role without usage cannot call agno_run');
is(outcome_as('nobody', "SELECT agno_grant_usage('nobody')"),
	'42501', 'a role without usage cannot grant it to itself');
is(outcome_as('nobody', "SELECT count(*) FROM agno.$_"), 0,
	"a role without usage reads no rows of others in $_")
  foreach qw(runs sessions cancellations);
is(outcome_as('nobody', "SELECT count(*) FROM agno.$_"), '42501',
	"a role without usage does not read $_")
  foreach qw(run_queue run_requests run_signals);
foreach my $table (qw(runs sessions cancellations run_queue run_requests))
{
	is(outcome_as('alice', "DELETE FROM agno.$table"),
		'42501', "a role with usage does not delete from $table");
}

# Own runs
is( outcome_as('alice', "SELECT status FROM agno_arun('of alice',
		model => 'mock:hang', run_id => 'a', session_id => 'sa')"),
	'PENDING', 'a role with usage enqueues');
is(outcome_as('alice', "SELECT owner FROM agno.runs"), 'alice',
	'who enqueues a run is its owner');
is(outcome_as('bob', "SELECT count(*) FROM agno_get_run_output('a')"),
	0, 'another role does not see the run');
is(outcome_as('bob', "SELECT count(*) FROM agno_wait_run('a')"),
	0, 'another role does not wait for the run');
wait_for_request('of alice');
is(outcome_as('bob', "SELECT agno_cancel_run('a')"), 'f',
	'another role does not cancel the run');
is(run_status('a'), 'RUNNING',
	'the run goes on when another role has tried to cancel it');
is(outcome_as('bob', "SELECT agno_arun('of bob', model => 'mock:echo')"),
	'42501', 'a role cannot use a server that it was not granted');
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER mock TO bob');
is( outcome_as('bob', "SELECT agno_arun('of bob', model => 'mock:echo', run_id => 'a')"),
	'23505', 'a run_id in use is refused');

# The marker that bob has left for "a" is for a run of his own only.
is(outcome_as('boss', "SELECT owner FROM agno_get_run_output('a')"),
	'alice', 'who has her rights sees the run');
is(outcome_as('boss', "SELECT agno_cancel_run('a')"), 't',
	'who has her rights cancels the run');
is(outcome_as('alice', "SELECT status FROM agno_wait_run('a')"),
	'CANCELLED', 'the owner waits for a run that another has cancelled');

# Keys
outcome_as('alice', "SELECT agno_arun('key', model => 'mock:echo', run_id => 'ka')");
outcome_as('bob', "SELECT agno_arun('key', model => 'mock:echo', run_id => 'kb')");
wait_run($_) foreach qw(ka kb);
is( join(' ', sort map { $_->{headers}{authorization} }
		  mock_requests('mock', 'key')),
	'Bearer sk-alice Bearer sk-public',
	'the mapping of the owner is used, else that of PUBLIC');

# Sessions
is( outcome_as('bob', "SELECT agno_arun('x', model => 'mock:echo', session_id => 'sa')"),
	'42501', 'the session of another role is refused');
is( outcome_as('postgres', "SELECT agno_arun('x', model => 'mock:echo', session_id => 'sa')"),
	'42501', 'the session of another role is refused even to a superuser')
  if $node->safe_psql('postgres', 'SELECT current_user') eq 'postgres';
is( outcome_as('alice', "SELECT status FROM agno_arun('x', model => 'mock:echo',
		session_id => 'users', user_id => 'u1')"),
	'PENDING', 'a run opens a session for a user_id');
is( outcome_as('alice', "SELECT status FROM agno_arun('x', model => 'mock:echo',
		session_id => 'users', user_id => 'u2')"),
	'42501', 'the session of a user_id is refused to another user_id');
is( outcome_as('alice', "SELECT user_id FROM agno_arun('x', model => 'mock:echo',
		session_id => 'users') a, agno_get_run_output(a.run_id)"),
	'', 'a session of a user_id goes on without naming the user');
is( outcome_as('alice', "SELECT count(*), min(user_id) FROM agno.runs
		WHERE session_id = 'users'"),
	'2|u1', 'a session stays with its user_id');

# A right that is taken away between acceptance and start
outcome_as('bob', "SELECT agno_arun('later', model => 'mock:echo', run_id => 'later',
	run_at => now() + interval '1 s')");
$node->safe_psql('postgres', 'REVOKE USAGE ON FOREIGN SERVER mock FROM bob');
is(wait_run('later'), 'ERROR', 'the grant is checked again at the start');
is(value("error->>'type', content FROM agno.runs
		WHERE run_id = 'later'"),
	'configuration|permission denied for foreign server mock',
	'the error says that the grant is missing');

# Options that only a superuser may set
$node->safe_psql(
	'postgres', "GRANT USAGE ON FOREIGN DATA WRAPPER agno_bg TO alice;
	GRANT CREATE ON DATABASE postgres TO alice");
is( outcome_as('alice', "CREATE SERVER hers FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url')"),
	'', 'a role with USAGE on the wrapper defines servers');
is( outcome_as('alice', "CREATE USER MAPPING FOR alice SERVER hers
		OPTIONS (api_key_file '/etc/passwd')"),
	'42501', 'a role with USAGE on the wrapper reads no files of the server');
is( outcome_as('alice', "CREATE USER MAPPING FOR alice SERVER hers
		OPTIONS (api_key_env 'HOME')"),
	'42501',
	"a role with USAGE on the wrapper does not read the server's environment");

# Taking usage back
$node->safe_psql('postgres', "SELECT agno_revoke_usage('alice')");
is(outcome_as('alice', "SELECT agno_arun('x', model => 'mock:echo')"),
	'42501', 'agno_revoke_usage takes usage back');
is(outcome_as('alice', "SELECT count(*) > 0 FROM agno.runs"),
	't', 'a role whose usage was taken back still reads its own rows');

# An owner who is dropped
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER mock TO bob');
outcome_as('bob', "SELECT agno_arun('orphan', model => 'mock:echo', run_id => 'orphan',
	run_at => now() + interval '1 s')");
$node->safe_psql('postgres', 'DROP OWNED BY bob; DROP ROLE bob');
is(wait_run('orphan'), 'ERROR',
	'the run of a role that was dropped ends in ERROR');
like(value("content FROM agno_get_run_output('orphan')"),
	qr/has been dropped/,
	'the error says that the role has been dropped');

$node->stop;
done_testing();
