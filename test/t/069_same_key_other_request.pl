# An idempotency_key stands for one request: who repeats the call with the same
# arguments gets the earlier run, and who asks for something else under the same
# key is told so. What is different each time, run_id and run_at, does not count.
# Fault injected: two sessions use the same key at once. JSON null means SQL NULL
# wherever an object is taken. And who may not call agno_arun at all is told how
# that is granted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user(qw(a b));
$node->safe_psql('postgres', q(
	CREATE ROLE nobody LOGIN;
	INSERT INTO agno.agents (agent_id, model) VALUES ('one', 'mock:echo'),
		('two', 'mock:echo')));

# The id of the run that agno_arun with these arguments returns, or what psql
# says.
sub id_or_error
{
	my ($arguments, %params) = @_;
	my ($ret, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT run_id FROM agno_arun($arguments)",
		extra_params => [ '-U', $params{role} // 'a' ]);
	return $ret == 0 ? $out : $err;
}

my $superuser = value('current_user');

#-------------------------------------------------------------------------
# The same request
#-------------------------------------------------------------------------

my $same = "'hello', model => 'mock:echo', session_id => 's', user_id => 'u', "
  . "metadata => '{\"a\": 1, \"b\": 2}', idempotency_key => 'k'";
my $first = id_or_error($same);
like($first, qr/^[0-9a-f-]{36}$/, 'the first call with a key enqueues a run');
is(id_or_error($same), $first, 'a second one with the same arguments returns it');
is(wait_run($first), 'COMPLETED', 'the run ends');
is(id_or_error($same), $first, 'and is returned when it has ended, too');
is(id_or_error($same =~ s/"a": 1, "b": 2/"b":2,"a":1/r),
	$first, 'two ways to write the same object are the same');
is(id_or_error("$same, run_id => 'mine'"), $first, 'the run_id does not count');
is(id_or_error("$same, run_at => now() + interval '1 h'"),
	$first, 'nor does run_at');
is(id_or_error("$same, session_state => 'null'::jsonb, output_schema => NULL"),
	$first, 'and what is null is not given');
is(value("count(*) FROM agno.runs"),
	1, 'there is one run');
unlike(id_or_error($same =~ s/session_id => 's', //r, role => 'b'),
	qr/\Q$first\E|ERROR/, 'the key of another role is another key');

my $by_agent = "'hello', agent_id => 'one', idempotency_key => 'agent'";
$first = id_or_error($by_agent, role => $superuser);
$node->safe_psql('postgres',
	"UPDATE agno.agents SET instructions = '{Anew}' WHERE agent_id = 'one'");
is(id_or_error($by_agent, role => $superuser), $first,
	'that an agent has been changed is no other request');
$node->safe_psql('postgres', "DELETE FROM agno.agents WHERE agent_id = 'one'");
is(id_or_error($by_agent, role => $superuser), $first,
	'nor is that it is not there any more');

#-------------------------------------------------------------------------
# Another request
#-------------------------------------------------------------------------

my %others = (
	'input' => $same =~ s/'hello'/'other'/r,
	'model' => $same =~ s/mock:echo/mock:gpt-5-mini/r,
	'session_id' => $same =~ s/'s'/'t'/r,
	'no session_id' => $same =~ s/session_id => 's', //r,
	'user_id' => $same =~ s/'u'/'v'/r,
	'metadata' => $same =~ s/"a": 1/"a": 2/r,
	'no metadata' => $same =~ s/metadata => \S+ \S+ \S+ \S+ //r,
	'session_state' => "$same, session_state => '{\"a\": 1}'",
	'model_options' => "$same, model_options => '{\"temperature\": 1}'",
	'output_schema' => "$same, output_schema => '{\"type\": \"object\","
	  . " \"properties\": {}, \"required\": [], \"additionalProperties\": false}'",
	'stream' => "$same, stream => true",
	'priority' => "$same, priority => 1",
	'timeout' => "$same, timeout => '1 min'",
	'max_attempts' => "$same, max_attempts => 1");

foreach my $what (sort keys %others)
{
	like(id_or_error($others{$what}),
		qr/ERROR:  23505:.*idempotency_key "k".*\n(?:.*\n)*?HINT:  \S/,
		"the same key with another request is refused, with a hint: $what");
}
like( id_or_error($by_agent =~ s/'one'/'two'/r, role => $superuser),
	qr/ERROR:  23505:.*idempotency_key "agent".*\n(?:.*\n)*?HINT:  \S/,
	'and so is another agent');
like( id_or_error("'hello', model => 'mock:echo', session_id => 'hellos', "
		  . "idempotency_key => 'boundaries'"),
	qr/^[0-9a-f-]{36}$/, 'a key of another request');
like( id_or_error("'hellohello', model => 'mock:echo', session_id => 's', "
		  . "idempotency_key => 'boundaries'"),
	qr/ERROR:  23505/, 'where one argument ends and the next begins counts');

#-------------------------------------------------------------------------
# At once
#-------------------------------------------------------------------------

# What agno_arun with these arguments returns to two sessions, and the error that the second
# one gets, which waits until the first one's transaction has ended.
sub at_once
{
	my ($first_arguments, $second_arguments) = @_;
	my $one = $node->background_psql('postgres',
		extra_params => [ '-U', 'a' ]);
	my $two = $node->background_psql('postgres',
		on_error_stop => 0, extra_params => [ '-U', 'a' ]);
	my $sql = "SELECT run_id FROM agno_arun(%s, model => 'mock:echo');";

	my $first_id = $one->query_safe(sprintf "BEGIN; $sql", $first_arguments);
	$two->query_until(qr/asked/, "\\set VERBOSITY verbose\n\\echo asked\n"
		  . sprintf("$sql\n", $second_arguments));
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity
			WHERE query ~ 'agno_arun' AND usename = 'a'
			AND wait_event_type = 'Lock'")
	  or die 'nobody waits';
	$one->query_safe('COMMIT');
	$one->quit;
	my $second_id = $two->query('SELECT 1');
	my $error = $two->{stderr};
	$two->quit;
	return ($first_id, $second_id, $error);
}

my ($one, $two, $error) = at_once(("'x', idempotency_key => 'both'") x 2);
like($one, qr/^[0-9a-f-]{36}$/, 'one of two sessions enqueues a run');
is($two, "$one\n1", 'and the other gets it, when it has waited for the commit');
($one, $two, $error) = at_once("'x', idempotency_key => 'differ'",
	"'y', idempotency_key => 'differ'");
is($two, '1', 'the other gets none if it asks for something else');
like($error, qr/ERROR:  23505:.*idempotency_key "differ"/, 'but an error');
is(value("count(*) FROM agno.run_requests
		WHERE idempotency_key IN ('both', 'differ')"),
	2, 'there is one run of each key');

my %beside = (
	'nothing' => '',
	'what is kept of a request' => ', stream => true',
	'an idempotency_key' => ", idempotency_key => 'beside'");
my $count = 0;

foreach my $first_has (sort keys %beside)
{
	foreach my $second_has (sort keys %beside)
	{
		my $id = 'id' . ++$count;

		# One key twice is the same request.
		next if $first_has eq $second_has && $first_has =~ /key/;
		($one, $two, $error) = at_once("'x', run_id => '$id'$beside{$first_has}",
			"'x', run_id => '$id'$beside{$second_has}");
		is("$one $two", "$id 1",
			"of two sessions with one run_id the first has it: $first_has, $second_has");
		like($error, qr/ERROR:  23505:.*run "$id" already exists\n(?:.*\n)*?HINT:/,
			'and the second is told so');
		$node->safe_psql('postgres',
			"DELETE FROM agno.run_requests WHERE idempotency_key = 'beside'");
	}
}

#-------------------------------------------------------------------------
# JSON null
#-------------------------------------------------------------------------

is(value("run_id FROM agno_arun('nulls',
		model => 'mock:echo', run_id => 'nulls', output_schema => 'null',
		session_state => 'null', metadata => 'null', model_options => 'null')"),
	'nulls', 'JSON null is taken where an object is');
is(wait_run('nulls'), 'COMPLETED', 'and the run completes');
is(value("content_type, metadata, session_state,
		(SELECT count(*) FROM agno.run_requests WHERE run_id = 'nulls')
		FROM agno.runs WHERE run_id = 'nulls'"),
	'str|||0', 'as if nothing had been given');
$node->safe_psql('postgres', "
	INSERT INTO agno.agents (agent_id, model, output_schema, session_state,
		metadata, model_options)
	VALUES ('nulls', 'mock:echo', 'null', 'null', 'null', 'null')");
like( $node->safe_psql('postgres', "CALL agno_run('x', agent_id => 'nulls',
			run_id => 'agent')"),
	qr/^agent\|COMPLETED\|You said: x$/, 'an agent may have JSON null as well');
is(value("content_type, metadata, session_state
		FROM agno.runs WHERE run_id = 'agent'"),
	'str||', 'which says nothing');
like( $node->safe_psql('postgres', "CALL agno_run('y', agent_id => 'nulls',
			run_id => 'given', metadata => '{\"a\": 1}',
			session_state => '{\"b\": 2}')"),
	qr/^given\|COMPLETED/, 'and is no obstacle to what a run is given');
is(value("metadata, session_state
		FROM agno.runs WHERE run_id = 'given'"),
	'{"a": 1}|{"b": 2}', 'which holds');

#-------------------------------------------------------------------------
# Another key for the same id
#-------------------------------------------------------------------------

$node->safe_psql('postgres', q(CALL agno_run('x', model => 'mock:echo', run_id => 'taken', idempotency_key => 'first')));
like(id_or_error(q('x', model => 'mock:echo', run_id => 'taken', idempotency_key => 'second')), qr/ERROR:  23505:.*run "taken" already exists\n(?:.*\n)*?HINT:/,
	'a run_id that is in use is refused, whatever else is given');

#-------------------------------------------------------------------------
# Who may not
#-------------------------------------------------------------------------

like( id_or_error("'x', model => 'mock:echo'", role => 'nobody'),
	qr/ERROR:  42501:.*permission denied for function agno_arun\n(?:.*\n)*?HINT:.*agno_grant_usage/,
	'who may not call agno_arun is told who may change that');

$node->stop;
done_testing();
