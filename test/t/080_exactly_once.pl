# What tools do happens exactly once, whatever dies: a run whose tool is being called
# when the server, the runner or the tool worker is killed goes on from its last
# stored step and asks the model for nothing again; a bank of accounts, on which
# agents transfer by a function while everything is killed again and again, has the
# right sum, and each transfer exactly one record, in its own transaction.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('main', conf => "agno_bg.max_attempts = 1000\nagno_bg.tool_timeout = 60s");
my $url = start_mock('mock');
add_mock_server($url);
make_user('bank');
$node->safe_psql('postgres', q(CREATE SCHEMA bank AUTHORIZATION bank));
as('bank', q{
	CREATE TABLE bank.accounts (id integer PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
	INSERT INTO bank.accounts SELECT i, 1000 FROM generate_series(1, 20) i;
	CREATE TABLE bank.transfers (tool_call_id text, source integer, target integer, amount integer,
		xid xid8 DEFAULT pg_current_xact_id());
	CREATE FUNCTION bank.transfer(source integer, target integer, amount integer) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE bank.accounts SET balance = balance - transfer.amount WHERE id = source;
		UPDATE bank.accounts SET balance = balance + transfer.amount WHERE id = target;
		INSERT INTO bank.transfers VALUES (current_setting('agno_bg.tool_call_id'), source, target, amount);
		RETURN 'done';
	END $$;
	CREATE FUNCTION bank.slow_transfer(source integer, target integer, amount integer) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM bank.transfer(source, target, amount);
		PERFORM pg_advisory_xact_lock(42);
		RETURN 'done';
	END $$;
	INSERT INTO agno.agents (agent_id, model, tools) VALUES
		('teller', 'mock:tools', '{bank.transfer,bank.slow_transfer}')});

my @slow = ([ [ transfer => { source => 1, target => 2, amount => 1 } ], [ slow_transfer => { source => 1, target => 2, amount => 1 } ] ]);

# The lock that a tool waits for is a prepared transaction's, which dies of nothing.
sub release { $node->safe_psql('postgres', q(ROLLBACK PREPARED 'holder')); }

# The call ends while the runner sleeps, which dies before it has heard of that. (If
# it had, it could die after it has asked the model, and would have to ask again.)
sub kill_sleeping_runner
{
	my ($run_id) = @_;
	my $runner = runner_pid();

	wait_until('the runner to have nothing to do', sub { value("state FROM pg_stat_activity WHERE pid = $runner") eq 'idle' });
	kill 'STOP', $runner;
	release();
	$node->poll_query_until('postgres', "SELECT count(*) = 2 FROM agno.tool_calls WHERE run_id = '$run_id' AND status = 'completed'");
	crash_by_killing($runner);
}

# What dies, while a tool is being called whose transaction waits for a lock, or when
# it has just had it.
my %deaths = (
	server => sub { $node->stop('immediate'); $node->start; release(); },
	worker => sub { crash_by_killing(value(q(pid FROM agno.workers WHERE kind = 'tool worker' AND state = 'busy'))); release(); },
	runner => \&kill_sleeping_runner,
	stop => sub { $node->stop('fast'); $node->start; release(); });

foreach my $what (sort keys %deaths)
{
	$node->safe_psql('postgres', q(BEGIN; SELECT pg_advisory_xact_lock(42); PREPARE TRANSACTION 'holder'));
	call_tools($what, 'teller', \@slow, role => 'bank');
	$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));
	is(value("string_agg(status, ' ' ORDER BY call_no) FROM agno.tool_calls WHERE run_id = '$what'"), 'completed pending',
		"$what: the first call is recorded while the second is made");
	is(run_status($what), 'RUNNING', "$what: the run is RUNNING meanwhile");
	$deaths{$what}->($what);
	expect_run($what, { status => 'COMPLETED', content => 'Results: done; done' }, "$what: the run goes on");
	is(value("count(*) FROM bank.transfers t JOIN agno.tool_calls c USING (tool_call_id) WHERE c.run_id = '$what' AND t.xid = c.xid"),
		2, "$what: each transfer is there once, with its record in the same transaction");
	is(value("count(*) FROM bank.transfers t WHERE NOT EXISTS (SELECT FROM agno.tool_calls c WHERE c.tool_call_id = t.tool_call_id)"),
		0, "$what: and no other");
	is(scalar(grep { $_->{body}{input}[0]{content} eq value("input FROM agno.runs WHERE run_id = '$what'") } mock_requests('mock')),
		2, "$what: the model is not asked again for what it has said");
}
is(value("attempt FROM agno.runs WHERE run_id = 'stop'"), 1, 'a clean stop is no attempt');

# A run that ends in ERROR after tools is requeued: they are not called again.
call_tools('again', 'teller', [ map { [ [ transfer => { source => 3, target => 4, amount => 1 } ] ] } 1 .. 2 ],
	role => 'bank', script => { fail => 1 });
is(wait_run('again'), 'ERROR', 'a run ends in ERROR after a tool');
is(value("agno_requeue_run('again')::text"), '(again,' . value("session_id FROM agno.runs WHERE run_id = 'again'") . ',PENDING)',
	'it is put back');
expect_run('again', { status => 'COMPLETED', content => 'Results: done' }, 'it goes on where it ended');
is(value("string_agg(c.turn || '.' || c.call_no || ' ' || c.status, ', ' ORDER BY c.turn, c.call_no)
		FROM agno.tool_calls c JOIN bank.transfers t USING (tool_call_id) WHERE run_id = 'again' AND c.xid = t.xid"),
	'1.1 completed, 2.1 completed', 'and nothing that was done is done again');
is(scalar(grep { $_->{body}{input}[0]{content} =~ /"again"/ } mock_requests('mock')), 4,
	'nor is the model asked again for what it has said');
is(value("count(*) FROM agno.run_steps WHERE run_id = 'again'"), 0, 'the steps of a run that has ended well are not kept');

#-------------------------------------------------------------------------
# The bank
#-------------------------------------------------------------------------

my ($agents, $transfers) = (20, 5);
foreach my $n (1 .. $agents)
{
	call_tools("agent-$n", 'teller', [ map {
			[ map { [ transfer => { source => 1 + int(rand 20), target => 1 + int(rand 20), amount => 1 + int(rand 3) } ] } 1 .. 2 ]
		} 1 .. $transfers ], role => 'bank');
}
my $killed = 0;
while ($killed < 6)
{
	sleep(0.4);
	my ($out, $err);
	my $kind = qw(tool runner server)[ $killed++ % 3 ];
	if ($kind eq 'server') { $node->stop('immediate'); $node->start; next; }
	IPC::Run::run([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-c',
			"SELECT pid FROM agno.workers WHERE kind LIKE '$kind%' AND pid > 0 ORDER BY random() LIMIT 1", 'postgres' ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	kill 'KILL', $out if $out =~ /^\d+$/;
}
wait_through_crashes($node, "SELECT count(*) = $agents FROM agno.runs WHERE run_id LIKE 'agent-%' AND status NOT IN ('PENDING', 'RUNNING')");
is(value("count(*) FROM agno.runs WHERE run_id LIKE 'agent-%' AND status = 'COMPLETED'"), $agents, 'all agents have done their work');
is(value('sum(balance) FROM bank.accounts'), 20000, 'the sum is right');
is(value("count(*) FROM bank.transfers t JOIN agno.tool_calls c USING (tool_call_id) WHERE c.run_id LIKE 'agent-%' AND t.xid = c.xid AND c.status = 'completed'"),
	$agents * $transfers * 2, 'each transfer has exactly one record, in its transaction');
is(value("count(*) FROM agno.tool_calls WHERE run_id LIKE 'agent-%'"), $agents * $transfers * 2, 'and each record its transfer');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

done_testing();
