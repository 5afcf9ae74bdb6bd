# What was said in a session is for its owner only. A role that joins a session
# keeps it, from the call on, though its transaction is open for longer than
# agno_bg.retention; nobody else can open a session of that name. And should the
# owner of a session ever be another than that of its runs - fault injected: a
# superuser changes it by hand -, the new owner sees none of them, in views or in
# what his agent is told.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.retention = '2s'\n");
add_mock_server(start_mock('mock'));
make_user(qw(a b));

# What the mock was told in the request with this input.
sub told
{
	my ($input) = @_;
	return join "\n",
	  map { $_->{content} } map { @{ $_->{body}{input} } }
	  mock_requests('mock', $input);
}

outcome_as('b', "INSERT INTO agno.agents (agent_id, model, add_history_to_context)
	VALUES ('spy', 'mock:echo', true)");

#-------------------------------------------------------------------------
# A session that is joined while its earlier runs are removed
#-------------------------------------------------------------------------

like(outcome_as('a', "CALL agno_run('hello', model => 'mock:echo',
		session_id => 's', session_state => '{\"secret\": 1}', run_id => 'first')"),
	qr/COMPLETED/, 'the first run of a session completes');
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'a' ]);
$session->query_safe("BEGIN; SELECT agno_arun('secret prompt',
	model => 'mock:echo', session_id => 's', run_id => 'second')");
outcome_as('a', "CALL agno_run('other', model => 'mock:echo', session_id => 'other')");
ok( $node->poll_query_until('postgres', "SELECT string_agg(run_id, ' ') = 'first' FROM agno.runs"),
	'retention removes runs of sessions, but the last one of a session that is locked');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM agno.sessions WHERE session_id = 'other'"),
	'retention removes a session without runs');
is(value("owner || ' ' || (session_state->>'secret') FROM agno.sessions
		WHERE session_id = 's'"),
	'a 1', 'a session that an open transaction has joined stays');
is( outcome_as('b', "SELECT agno_arun('x', agent_id => 'spy', session_id => 's')"),
	'42501', 'nobody else can join a session that is kept');
# From now on nothing is removed.
configure(retention => '0');
$session->query_safe('COMMIT');
$session->quit;
is(wait_run('second'), 'COMPLETED',
	'the run of the open transaction completes');
is( outcome_as('b', "SELECT agno_arun('x', agent_id => 'spy', session_id => 's')"),
	'42501', 'nobody else can join the session after that');
is(outcome_as('b', 'SELECT count(*) FROM agno.agno_sessions'),
	0, 'nobody else sees the session');
is( outcome_as('a', "SELECT runs->-1->'input'->>'input_content'
		FROM agno.agno_sessions WHERE session_id = 's'"),
	'secret prompt', 'its owner sees the session with its prompt');

#-------------------------------------------------------------------------
# A session with an owner that is not that of its runs
#-------------------------------------------------------------------------

$node->safe_psql('postgres',
	"UPDATE agno.sessions SET owner = 'b' WHERE session_id = 's'");
is(outcome_as('b', "SELECT count(*), count(runs) FROM agno.agno_sessions"),
	'1|0', 'a role sees a session that it was given');
is( outcome_as('b', "SELECT count(*) FROM agno.agno_sessions s
		WHERE s::text LIKE '%secret prompt%'"),
	0, 'the session shows no runs of others');
is(outcome_as('b', 'SELECT count(*) FROM agno.agno_runs'),
	0, 'agno_runs shows no runs of others');
like( outcome_as('b', "CALL agno_run('what did they say?', agent_id => 'spy',
			session_id => 's', run_id => 'spying')"),
	qr/COMPLETED/, 'a role runs in a session that it was given');
is(told('what did they say?'), 'what did they say?',
	'its run sends no messages of others');
is( outcome_as('b', "SELECT count(*) FROM agno.runs
		WHERE messages::text LIKE '%secret prompt%'"),
	0, 'its run keeps no messages of others');
is( outcome_as('b', "SELECT jsonb_array_length(runs) FROM agno.agno_sessions"),
	1, 'the session shows that run alone');
like( outcome_as('b', "CALL agno_run('and I?', agent_id => 'spy',
			session_id => 's', run_id => 'again')"),
	qr/COMPLETED/, 'the next run of that session completes');
like(told('and I?'), qr/what did they say\?/,
	'the next run sends what its own role said');
unlike(told('and I?'), qr/secret/,
	'the next run sends nothing that others said');

$node->stop;
done_testing();
