# Chaos: clients that enqueue, roll back and cancel runs, while processes and
# servers are killed at random; and a checker that proves from the tables and
# from the log of the model server that nothing was lost and nothing happened
# twice. A role with nothing but usage does its worst meanwhile: it floods, lets
# runs hang, and holds runs locked in open and in prepared transactions. Agents
# move money in a bank by their tools, each transfer of which must have exactly one
# record, in its own transaction. The invariants of the queue are checked all the time. The seed decides who does what
# in which order.

package AgnoChaos;

use strict;
use warnings;

use AgnoInvariants;
use AgnoTest;
use Exporter 'import';
use IPC::Run ();
use JSON::PP ();
use List::Util qw(max);
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(chaos);

use constant CLIENTS => 4;
use constant EVIL_CLIENTS => 2;
use constant DATABASES => ('postgres', 'other');

# What a run may be, how often, and how it may end if nobody interferes.
my @KINDS = (
	{ weight => 30, model => 'stamp-0' },
	{ weight => 20, model => 'stamp-30' },
	{ weight => 10, model => 'stamp-400' },
	{ weight => 6, model => 'stamp-1200' },
	{ weight => 8, model => 'words-20', stream => 1 },
	{ weight => 4, model => 'break-1', stream => 1 },
	{ weight => 6, model => 'flaky-1-503' },
	{ weight => 4, model => 'status-400' },
	{ weight => 3, model => 'drop' },
	{ weight => 3, model => 'cut' },
	{ weight => 3, model => 'hang', timeout => '1 s' },
	{ weight => 3, model => 'stamp-0', run_at => '1 s' });

my @FAULTS = (
	'kill runner', 'kill runner', 'terminate runner', 'terminate runner',
	'kill tool worker', 'kill tool worker', 'terminate tool worker',
	'immediate stop', 'immediate stop', 'fast restart', 'fast restart',
	'model server dies', 'model server dies', 'freeze runner', 'reload');

sub choose
{
	my ($total, $n) = (0);
	$total += $_->{weight} foreach @_;
	$n = rand($total);
	foreach my $kind (@_)
	{
		return $kind if ($n -= $kind->{weight}) < 0;
	}
	return $_[-1];
}

#-------------------------------------------------------------------------
# A client
#-------------------------------------------------------------------------

# Execute a script; returns its output and what has become of it: committed,
# failed, or unknown when the connection was lost.
sub execute
{
	my ($node, $database, $sql, @options) = @_;
	my ($out, $err) = ('', '');
	my $script = "$PostgreSQL::Test::Utils::tmp_check/script$$";

	# From a file: psql may be gone before it has read all of its input.
	open my $file, '>', $script or die "$script: $!";
	print $file $sql;
	close $file;
	IPC::Run::run(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $script,
			'-h', $node->host, '-p', $node->port, @options, $database
		],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	my $code = $? >> 8;
	return ($out, $code == 0 ? 'committed' : $code == 3
		  && $err !~ /server closed|terminating connection|in recovery|shutting down|starting up/
		? 'failed' : 'unknown', $err);
}

sub arun
{
	my ($run) = @_;
	my $sql = "SELECT agno_arun('$run->{id}', run_id => '$run->{id}', "
	  . "model => 'mock:$run->{model}', max_attempts => $run->{attempts}";
	$sql .= ", session_id => '$run->{session}'" if $run->{session};
	$sql .= ', stream => true' if $run->{stream};
	$sql .= ", timeout => '$run->{timeout}'" if $run->{timeout};
	$sql .= ", run_at => clock_timestamp() + '$run->{run_at}'"
	  if $run->{run_at};
	return "$sql) \\g /dev/null\n";
}

# One transaction with a few runs; some of them, or all, are rolled back.
sub enqueue_some
{
	my ($client, $number) = @_;
	my $database = (DATABASES)[ rand 2 ];
	my $way = choose(
		{ name => 'commit', weight => 80 },
		{ name => 'rollback', weight => 10 },
		{ name => 'prepare', weight => 5 },
		{ name => 'prepare and roll back', weight => 5 });
	my @runs;
	my $sql = "BEGIN;\n";

	foreach my $i (1 .. 1 + rand 4)
	{
		my %run = (
			%{ choose(@KINDS) },
			id => "c$client-$number-$i",
			attempts => rand() < 0.2 ? 2 : 100,
			database => $database);
		# of this client alone, so that its order is known, or of all
		my $session = rand();
		if (!$run{run_at} && $session < 0.5)
		{
			$run{session} = "own-$client-" . int(rand 3) . "-$database";
		}
		elsif (!$run{run_at} && $session < 0.6)
		{
			$run{session} = 'shared-' . int(rand 3);
		}
		if (rand() < 0.1)
		{
			$run{gone} = 1;
			$sql .= "SAVEPOINT s;\n" . arun(\%run) . "ROLLBACK TO s;\n";
		}
		else
		{
			$sql .= arun(\%run);
		}
		push @runs, \%run;
	}
	$sql .= {
		'commit' => "COMMIT;\n",
		'rollback' => "ROLLBACK;\n",
		'prepare' =>
		  "PREPARE TRANSACTION 'p$client-$number';\nCOMMIT PREPARED 'p$client-$number';\n",
		'prepare and roll back' =>
		  "PREPARE TRANSACTION 'p$client-$number';\nROLLBACK PREPARED 'p$client-$number';\n"
	}->{ $way->{name} };
	if ($way->{name} =~ /roll/)
	{
		$_->{gone} = 1 foreach @runs;
	}
	return ($database, $sql, @runs);
}

# Enqueue and cancel until the time is over; note what was done in a file.
sub client
{
	my ($node, $client, $seed, $until, $ledger) = @_;
	my $number = 0;
	my @mine;

	srand($seed * 100 + $client);
	open my $file, '>>', $ledger or die "$ledger: $!";
	$file->autoflush(1);
	while (time < $until)
	{
		$number++;
		if (@mine && rand() < 0.25)
		{
			# One of the last, or of the next transaction's.
			my $run = $mine[ -1 - rand(@mine > 20 ? 20 : @mine) ];
			if (rand() < 0.2)
			{
				$run = { id => "c$client-" . ($number + 1) . '-1',
					database => (DATABASES)[ rand 2 ], early => 1 };
			}
			my ($out, $outcome, $err) = execute($node, $run->{database},
				"SELECT agno_cancel_run('$run->{id}');\n");
			print $file JSON::PP::encode_json({
				cancel => $run->{id}, database => $run->{database},
				early => $run->{early}, outcome => $outcome, error => $err,
				result => $out =~ /^t/ ? 1 : 0 }), "\n";
		}
		else
		{
			my ($database, $sql, @runs) = enqueue_some($client, $number);
			my ($out, $outcome, $err) = execute($node, $database, $sql);

			push @mine, @runs;
			print $file JSON::PP::encode_json({
				client => $client, database => $database, runs => \@runs,
				outcome => $outcome, error => $err }), "\n";
		}
		usleep(10_000);
	}
	close $file;
}

#-------------------------------------------------------------------------
# An evil one
#-------------------------------------------------------------------------

# Cancel the last runs of the role in a transaction that stays open for a while.
my $LOCK = q(BEGIN;
	SELECT count(agno_cancel_run(run_id)) FROM (SELECT run_id FROM agno.runs
		WHERE status IN ('PENDING', 'RUNNING') ORDER BY created_at DESC LIMIT 30) r;
	SELECT pg_sleep(random());
	);

sub evil_client
{
	my ($node, $client, $seed, $until) = @_;
	my $number = 0;

	srand($seed * 100 + 50 + $client);
	while (time < $until)
	{
		my $database = (DATABASES)[ rand 2 ];
		my $id = "evil$client-" . ++$number;
		my $way = choose(
			{ weight => 3, sql =>
				"SELECT count(*) FROM generate_series(1, 100) i, agno_arun('$id',
					run_id => '$id-' || i, session_id => 'evil-' || i % 70,
					model => 'mock:stamp-20', priority => 2147483647);" },
			{ weight => 2, sql =>
				"SELECT count(*) FROM generate_series(1, 20) i, agno_arun('$id',
					run_id => '$id-' || i, model => 'mock:hang', timeout => '1 s',
					stream => i % 2 = 0);" },
			{ weight => 1, sql =>
				"SELECT count(agno_cancel_run('$id-' || i)) FROM generate_series(1, 50) i;" },
			{ weight => 2, sql => "$LOCK ROLLBACK;" },
			{ weight => 2, sql => "$LOCK COMMIT;" },
			{ weight => 1, sql => "$LOCK PREPARE TRANSACTION '$id';
				SELECT pg_sleep(random());
				ROLLBACK PREPARED '$id';" },
			{ weight => 1, sql => "BEGIN; SAVEPOINT s; SELECT count(*) FROM
				generate_series(1, 50) i, agno_arun('$id', run_id => '$id-' || i,
				session_id => 'evil-' || i, model => 'mock:echo');
				ROLLBACK TO s; SELECT pg_sleep(random() / 2); COMMIT;" });

		execute($node, $database, $way->{sql}, '-U', 'evil');
		usleep(100_000);
	}
}

sub start_other_clients
{
	my ($node, $seed, $until) = @_;
	my @pids;

	foreach my $client (-1 .. EVIL_CLIENTS)
	{
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			eval {
				$client == -1
				  ? deciding_client($node, $seed, $until)
				  : $client == 0
				  ? bank_client($node, $seed, $until)
				  : evil_client($node, $client, $seed, $until);
			};
			print STDERR $@ if $@;
			POSIX::_exit($@ ? 1 : 0);
		}
		push @pids, $pid;
	}
	return @pids;
}

#-------------------------------------------------------------------------
# A bank
#-------------------------------------------------------------------------

my $BANK = q(
	SELECT agno_grant_usage('bank');
	CREATE SCHEMA bank AUTHORIZATION bank;
	SET SESSION AUTHORIZATION bank;
	CREATE TABLE bank.accounts (id integer PRIMARY KEY, balance bigint NOT NULL);
	INSERT INTO bank.accounts SELECT i, 1000 FROM generate_series(1, 10) i;
	CREATE TABLE bank.transfers (tool_call_id text, xid xid8 DEFAULT pg_current_xact_id());
	CREATE FUNCTION bank.transfer(source integer, target integer, amount integer,
		seconds float8) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO bank.transfers VALUES (current_setting('agno_bg.tool_call_id'));
		UPDATE bank.accounts SET balance = balance - amount WHERE id = source;
		PERFORM pg_sleep(seconds);
		UPDATE bank.accounts SET balance = balance + amount WHERE id = target;
		RETURN 'done'; END $$;
	INSERT INTO agno.tools (tool, function, preview) VALUES ('guarded', 'bank.transfer', true);
	INSERT INTO agno.tools (tool, function, requires_confirmation, expires_after) VALUES
		('hasty', 'bank.transfer', true, '300 ms');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES
		('teller', 'mock:tools-20', '{bank.transfer,guarded,hasty}'));

# A teller with two transfers in each of two answers; some are cancelled.
sub bank_client
{
	my ($node, $seed, $until) = @_;
	my $number = 0;

	srand($seed * 100 + 70);
	while (time < $until)
	{
		my $id = 'bank' . ++$number;
		my $transfer = sub {
			return { name => choose({ name => 'transfer', weight => 6 },
					{ name => 'guarded', weight => 3 }, { name => 'hasty', weight => 1 })->{name},
				arguments => {
				source => 1 + int(rand 10), target => 1 + int(rand 10),
				amount => 1 + int(rand 9), seconds => rand() < 0.2 ? 0.3 : 0 } };
		};
		my $script = JSON::PP->new->canonical->encode({
			id => $id, calls => [ map { [ $transfer->(), $transfer->() ] } 1 .. 2 ] });
		my $sql = "SELECT agno_arun('$script', 'teller', run_id => '$id',
			session_id => 'teller-' || @{[ int(rand 8) ]});";

		$sql .= "SELECT agno_cancel_run('bank' || @{[ $number - int(rand 3) ]});"
		  if rand() < 0.2;
		my ($out, $outcome, $err) =
		  execute($node, (DATABASES)[ rand 2 ], $sql, '-U', 'bank');
		die $err if $outcome eq 'failed';
		usleep(50_000);
	}
}

# Somebody who decides about the calls that wait, in transactions of all kinds; in the
# end, about each of them.
sub deciding_client
{
	my ($node, $seed, $until) = @_;
	my $number = 0;
	my $next = q(FROM (SELECT run_id, tool_call_id FROM agno.approvals ORDER BY random() LIMIT 1) a);

	srand($seed * 100 + 71);
	while (time < $until)
	{
		my $way = choose(
			{ weight => 6, sql => "SELECT agno_approve_call(run_id, tool_call_id) $next;" },
			{ weight => 2, sql => "SELECT agno_reject_call(run_id, tool_call_id, 'no') $next;" },
			{ weight => 2, sql => "SELECT agno_approve_call(run_id) FROM (SELECT DISTINCT run_id FROM agno.approvals LIMIT 1) a;" },
			{ weight => 1, sql => "BEGIN; SELECT agno_approve_call(run_id, tool_call_id) $next; SELECT pg_sleep(random() / 2); ROLLBACK;" },
			{ weight => 1, sql => "BEGIN; SELECT agno_approve_call(run_id, tool_call_id) $next; SELECT pg_sleep(random() / 2); COMMIT;" },
			{ weight => 1, sql => "SELECT agno_cancel_run(run_id) $next;" },
			{ weight => 1, sql => "BEGIN; SELECT agno_approve_call(run_id, tool_call_id) $next;
				PREPARE TRANSACTION 'd@{[ ++$number ]}'; COMMIT PREPARED 'd$number';" });

		execute($node, (DATABASES)[ rand 2 ], $way->{sql}, '-U', 'bank');
		usleep(20_000);
	}
}

# Decide about all that waits, until nothing does any more; give up when nothing comes of it.
sub decide_the_rest
{
	my ($node, $database) = @_;
	my $left;

	do
	{
		my $before = $left // 1e9;

		wait_until("$database to be decided", sub {
			execute($node, $database, "SELECT agno_approve_call(run_id, tool_call_id) FROM agno.approvals;\n", '-U', 'bank');
			my ($out) = execute($node, $database, "SELECT count(*) FROM agno.runs WHERE status IN ('PENDING', 'RUNNING', 'PAUSED') AND run_id LIKE 'bank%';\n");
			$left = $1 if $out =~ /^(\d+)/;
			return defined $left && $left < $before;
		});
	} while ($left > 0);
}

sub check_bank
{
	my ($node, $database) = @_;

	is( $node->safe_psql($database, 'SELECT sum(balance) FROM bank.accounts'),
		10000, "$database: the sum of the bank is right");
	report("$database: each transfer has its record, in its transaction",
		map { $_->{tool_call_id} } rows($node, $database, q(
			SELECT tool_call_id FROM bank.transfers t
			FULL JOIN (SELECT * FROM agno.tool_calls WHERE status = 'completed') c
				USING (tool_call_id)
			WHERE t.xid IS DISTINCT FROM c.xid)));
	report("$database: each transfer was made once",
		map { $_->{tool_call_id} } rows($node, $database, q(
			SELECT tool_call_id FROM bank.transfers GROUP BY 1 HAVING count(*) > 1)));
	report("$database: a COMPLETED run has made all of its transfers",
		map { $_->{run_id} } rows($node, $database, q(
			SELECT run_id FROM agno.runs r WHERE status = 'COMPLETED'
			AND run_id LIKE 'bank%' AND 4 <> (SELECT count(*) FROM agno.tool_calls c
				WHERE c.run_id = r.run_id AND (c.status = 'completed' OR c.status = 'rejected'
					AND EXISTS (SELECT FROM agno.requirements q WHERE q.run_id = c.run_id
						AND q.turn = c.turn AND q.call_no = c.call_no AND q.decision = 'rejected'))))));
	report("$database: what was gated was executed if it was approved, and only then",
		map { $_->{tool_call_id} } rows($node, $database, q(
			SELECT tool_call_id FROM agno.tool_calls c LEFT JOIN agno.requirements q USING (run_id, turn, call_no)
			WHERE c.status = 'completed' AND c.tool <> 'transfer' AND q.decision IS DISTINCT FROM 'approved')));
	cmp_ok($node->safe_psql($database, q(SELECT count(*) FROM agno.requirements WHERE decision = 'approved')),
		'>', 0, "$database: somebody has approved");
	report("$database: no call is left to be made",
		map { $_->{run_id} } rows($node, $database,
			q(SELECT run_id FROM agno.tool_queue UNION ALL
			SELECT run_id FROM agno.tool_calls WHERE status IN ('pending', 'preview', 'paused') UNION ALL
			SELECT run_id FROM agno.run_steps JOIN agno.runs USING (run_id)
				WHERE status <> 'ERROR')));
	cmp_ok($node->safe_psql($database, q(SELECT count(*) FROM agno.tool_calls
			WHERE status = 'completed')), '>', 0, "$database: there are transfers");
	note($node->safe_psql($database, q(SELECT 'tellers: ' || string_agg(status || ' ' || n, ', ')
		FROM (SELECT status, count(*) AS n FROM agno.runs WHERE run_id LIKE 'bank%'
			GROUP BY status) s)));
}

# Look at the queue of each database. Returns what is not as it should be; a
# server that is just being restarted is asked another time.
sub violations
{
	my ($node) = @_;
	my @found;

	foreach my $database (DATABASES)
	{
		my ($out, $outcome, $err) =
		  execute($node, $database, queue_violations() . ";\n");
		push @found, map { "$database: $_" } split /\n/, $out;
		push @found, "$database: $err" if $outcome eq 'failed';
	}
	return @found;
}

sub start_clients
{
	my ($node, $seed, $until) = @_;
	my %clients;

	foreach my $client (1 .. CLIENTS)
	{
		my $ledger = "$PostgreSQL::Test::Utils::tmp_check/ledger$client";
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			eval { client($node, $client, $seed, $until, $ledger) };
			print STDERR $@ if $@;
			# no END blocks: the server is not ours
			POSIX::_exit($@ ? 1 : 0);
		}
		$clients{$pid} = $ledger;
	}
	return %clients;
}

#-------------------------------------------------------------------------
# Faults
#-------------------------------------------------------------------------

# Some runner's process, or a tool worker's, or nothing when there is none right now.
sub some_worker
{
	my ($node, $kind) = @_;
	my ($out) = execute($node, 'template1',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'agno_bg $kind' "
		  . "ORDER BY datname, pid;\n");
	my @pids = split /\n/, $out;
	return @pids ? $pids[ rand @pids ] : undef;
}

sub wait_for_server
{
	my ($node) = @_;
	wait_until('the server',
		sub { (execute($node, 'postgres', "SELECT 1;\n"))[1] eq 'committed' });
}

# Returns how many runs in flight this may have given back uncounted: 1 for a
# runner that was asked to go, 0 for a crash.
sub inject
{
	my ($node, $fault) = @_;
	my $graceful = 0;

	if ($fault =~ /(runner|tool worker)/)
	{
		my $pid = some_worker($node, $1) or return 0;
		if ($fault =~ /^kill/)
		{
			kill 'KILL', $pid;
			usleep(300_000);
		}
		elsif ($fault =~ /^terminate/)
		{
			kill 'TERM', $pid;
			$graceful = 1;
		}
		else
		{
			kill 'STOP', $pid;
			usleep(600_000);
			kill 'CONT', $pid;
		}
	}
	elsif ($fault eq 'immediate stop')
	{
		wait_for_server($node);
		$node->stop('immediate');
		usleep(200_000);
		$node->start;
	}
	elsif ($fault eq 'fast restart')
	{
		wait_for_server($node);
		$node->stop('fast');
		$node->start;
		$graceful = 1;
	}
	elsif ($fault eq 'model server dies')
	{
		my $port = stop_mock('mock');
		usleep(rand(900_000));
		start_mock('mock', '--port', $port);
	}
	elsif ($fault eq 'reload')
	{
		$node->reload;
	}
	wait_for_server($node);
	return $graceful;
}

#-------------------------------------------------------------------------
# The checker
#-------------------------------------------------------------------------

# The rows of a query as hashes.
sub rows
{
	my ($node, $database, $query) = @_;
	return @{ JSON::PP::decode_json($node->safe_psql($database,
			"SELECT coalesce(jsonb_agg(q), '[]') FROM ($query) q")) };
}

sub report
{
	my ($what, @wrong) = @_;
	is(scalar(@wrong), 0, $what)
	  or diag(join "\n", @wrong > 10 ? @wrong[ 0 .. 9 ] : @wrong);
}

sub check
{
	my ($node, $graceful, @ledger) = @_;
	my (%expected, %gone, %unknown, %cancelled, %early, %requests, %timely,
		%stored);
	my @order;

	foreach my $entry (@ledger)
	{
		my $key = "$entry->{database}/" . ($entry->{cancel} // '');
		if ($entry->{cancel})
		{
			next if $entry->{outcome} ne 'committed';
			$cancelled{$key} = 1 if $entry->{result} || $entry->{early};
			$early{$key} = 1 if $entry->{early} && !$entry->{result};
			next;
		}
		foreach my $run (@{ $entry->{runs} })
		{
			my $id = "$entry->{database}/$run->{id}";
			if ($run->{gone} || $entry->{outcome} eq 'failed')
			{
				$gone{$id} = $entry;
			}
			elsif ($entry->{outcome} eq 'unknown')
			{
				$unknown{$id} = $run;
			}
			else
			{
				$expected{$id} = $run;
				push @order, $id;
			}
		}
	}
	foreach my $database (DATABASES)
	{
		$stored{"$database/$_->{run_id}"} = $_ foreach rows($node, $database,
			'SELECT run_id, session_id, status, content, attempt, '
			  . "error->>'type' AS error, "
			  . 'extract(epoch FROM finished_at) AS finished FROM agno.runs '
			  . "WHERE run_id !~ '^(evil|bank)' OR status NOT IN "
			  . "('COMPLETED', 'CANCELLED', 'ERROR')");
	}
	# Ids are of one database each, but for those of early cancels.
	my %database_of =
	  map { my ($database, $id) = split m{/}; ($id => $database) } keys %stored;
	foreach my $entry (mock_log('mock'))
	{
		next if $entry->{event} ne 'request' || !$entry->{body}{input};
		my ($id) = map { $_->{content} }
		  grep { ($_->{role} // '') eq 'user' } @{ $entry->{body}{input} };
		next if $id =~ /^evil/ || $id =~ /^\{/;
		my $database = $database_of{$id} // 'none';
		push @{ $requests{"$database/$id"} }, $entry->{number};

		# What was sent by a run that did not wait for its answer until its end
		# may be read by the server a moment after that.
		my $run = $stored{"$database/$id"} // next;
		my $end = $run->{finished} // 0;
		push @{ $timely{"$database/$id"} }, $entry->{number}
		  if $run->{status} eq 'COMPLETED'
		  || $entry->{time} < $end
		  || $entry->{time} > $end + 1;
	}

	report('every committed run is there',
		grep { !$stored{$_} } keys %expected);
	report('every run has a final status',
		map { "$_ $stored{$_}{status}" }
		  grep { $stored{$_}{status} !~ /^(COMPLETED|CANCELLED|ERROR)$/ }
		  keys %stored);
	report('what was rolled back is not there and never ran',
		grep { $stored{$_} || $requests{$_} || $requests{ s{.*/}{none/}r } }
		  keys %gone);
	report('nothing else ran',
		grep { !$expected{$_} && !$unknown{$_} } keys %requests, keys %stored);
	report('a run that was cancelled is CANCELLED',
		map { "$_ $stored{$_}{status}" }
		  grep { $stored{$_} && $stored{$_}{status} ne 'CANCELLED' }
		  keys %cancelled);
	report('one that was cancelled before it existed was never sent',
		grep { $requests{$_} } keys %early);
	report('the answer is that of the last request',
		map { "$_ $stored{$_}{content} of @{$requests{$_}}" }
		  grep { $stored{$_}{status} eq 'COMPLETED'
			  && $stored{$_}{content} =~ /^\d+$/
			  && $stored{$_}{content} != $requests{$_}[-1] }
		  keys %stored);
	report('streamed answers are complete',
		map { "$_ $stored{$_}{content}" }
		  grep { my $run = $expected{$_} // $unknown{$_};
			  $stored{$_}{status} eq 'COMPLETED' && $run->{stream}
			  && $stored{$_}{content} ne "You said: $run->{id}" }
		  keys %stored);
	report('there are no more requests than attempts and retries allow',
		map { "$_: attempt $stored{$_}{attempt}, requests @{$requests{$_}}" }
		  grep { @{ $requests{$_} } >
			  (max(1, $stored{$_}{attempt}) + $graceful) * 3 }
		  grep { $stored{$_} } keys %requests);
	report('runs that fail without a fault end in ERROR',
		map { "$_ $stored{$_}{status}" }
		  grep { $stored{$_}
			  && $expected{$_}{model} =~ /^(status|drop|cut|hang)/
			  && $stored{$_}{status} eq 'COMPLETED' }
		  keys %expected);

	# Runs of a session do not overlap; those of one client are in its order.
	my (%sessions, @overlapping, @disordered);
	foreach my $id (grep { $timely{$_} } keys %stored)
	{
		push @{ $sessions{ ($id =~ m{(.*)/})[0] . $stored{$id}{session_id} } },
		  [ $timely{$id}[0], $timely{$id}[-1], $id ];
	}
	foreach my $session (values %sessions)
	{
		my $before;
		foreach my $run (sort { $a->[0] <=> $b->[0] } @$session)
		{
			push @overlapping, "$before->[2] $run->[2]"
			  if $before && $before->[1] > $run->[0];
			$before = $run;
		}
	}
	report('runs of a session are executed one at a time', @overlapping);
	my %last;
	foreach my $id (grep { $timely{$_} } @order)
	{
		my $session = $expected{$id}{session} // next;
		next if $session !~ /^own/;
		push @disordered, "$last{$session} $id"
		  if $last{$session}
		  && $timely{ $last{$session} }[-1] > $timely{$id}[0];
		$last{$session} = $id;
	}
	report('in the order of their acceptance', @disordered);

	check_bank($node, $_) foreach DATABASES;
	foreach my $database (DATABASES)
	{
		report("$database: events are numbered without gaps and end once",
			map { $_->{run_id} } rows($node, $database, q(
				SELECT run_id FROM agno.runs
				JOIN agno.run_requests q USING (run_id)
				LEFT JOIN agno.run_events e USING (run_id)
				WHERE q.stream GROUP BY run_id
				HAVING max(seq) IS DISTINCT FROM count(seq)
				OR min(seq) <> 1
				OR count(*) FILTER (WHERE event IN ('RunCompleted', 'RunError'))
					<> 1)));
		report("$database: nothing is left in the queue",
			map { $_->{run_id} } rows($node, $database,
				'SELECT run_id FROM agno.run_queue UNION ALL '
				  . 'SELECT run_id FROM agno.run_signals'));
	}

	my %count;
	$count{ $_->{status} }++ foreach values %stored;
	note(join ', ', scalar(keys %stored) . ' runs',
		(map { "$count{$_} $_" } sort keys %count),
		scalar(keys %gone) . ' rolled back',
		scalar(keys %unknown) . ' of unknown outcome',
		scalar(keys %cancelled) . ' cancels',
		scalar(map { @$_ } values %requests) . ' requests');
	foreach my $kind ('COMPLETED', 'CANCELLED', 'ERROR')
	{
		cmp_ok($count{$kind} // 0, '>', 0, "some runs are $kind");
	}
}

#-------------------------------------------------------------------------
# All of it
#-------------------------------------------------------------------------

# Roll back what is prepared in a database and fits the condition. It may end by
# itself meanwhile.
sub roll_back_prepared
{
	my ($node, $database, $condition) = @_;

	$node->psql($database, "SELECT format('ROLLBACK PREPARED %L', gid)
		FROM pg_prepared_xacts
		WHERE database = current_database() AND $condition \\gexec");
}

sub chaos
{
	my ($seconds, $seed) = @_;
	my $runners = 1 + $seed % 2;
	my $node = new_node('main', conf => "agno_bg.runners = $runners
		max_prepared_transactions = 50
		max_worker_processes = 20
		agno_bg.max_attempts = 1000");
	my $url = start_mock('mock');
	my $until = time + $seconds;
	my $graceful = 0;
	my @ledger;

	note("seed $seed, $seconds s, $runners runners per database");
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION agno_bg');
	$node->safe_psql('postgres', 'CREATE ROLE evil LOGIN; CREATE ROLE bank LOGIN');
	foreach my $database (DATABASES)
	{
		add_mock_server($node, $url, database => $database);
		$node->safe_psql($database, "SELECT agno_grant_usage('evil'); $BANK");
	}
	my @violations;

	my %clients = start_clients($node, $seed, $until);
	my @others = start_other_clients($node, $seed, $until);
	srand($seed);
	while (time < $until)
	{
		my $fault = $FAULTS[ rand @FAULTS ];

		usleep(500_000 + rand(1_500_000));
		note(sprintf '%.1f s before the end: %s', $until - time, $fault);
		$graceful += inject($node, $fault);
		push @violations, violations($node);
	}
	foreach my $pid (@others)
	{
		# It may wait for a lock of a transaction that it has prepared itself.
		until (waitpid($pid, WNOHANG) == $pid)
		{
			roll_back_prepared($node, $_, "owner IN ('evil', 'bank')") foreach DATABASES;
			usleep(200_000);
		}
		is($?, 0, 'another client came to its end');
	}
	foreach my $pid (keys %clients)
	{
		waitpid $pid, 0;
		is($?, 0, 'a client came to its end');
		push @ledger, map { JSON::PP::decode_json($_) }
		  split /\n/, slurp_file($clients{$pid});
	}

	# What clients that lost their connections have left.
	foreach my $database (DATABASES)
	{
		roll_back_prepared($node, $database, 'true');
		decide_the_rest($node, $database);
		ok( $node->poll_query_until($database,
				'SELECT NOT EXISTS (SELECT FROM agno.run_queue)
					AND NOT EXISTS (SELECT FROM agno.run_signals)'),
			"$database: all runs come to an end");
	}
	push @violations, violations($node);
	report('the queue has always been in order', @violations);
	check($node, $graceful, @ledger);
	$node->stop;
}

1;
