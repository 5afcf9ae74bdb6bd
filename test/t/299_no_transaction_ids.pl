# While PostgreSQL gives nobody a transaction id, to avoid wraparound, what has been
# answered waits, as it does for a full disk, and is stored when old ones have been vacuumed.
# Fault injected: the next transaction id is moved to some before the last one that there is,
# and a replication slot keeps old ones from being vacuumed.
# Waits: for pauses after failures.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# How many ids PostgreSQL leaves for a superuser who is alone, and we before those.
use constant { RESERVED => 3_000_000, LEFT => 3_000 };

my $node = new_node('main', conf => qq(
wal_level = logical
autovacuum_naptime = 1
));

# Move the next transaction id there, of which the commit log has a page then.
sub move_next_id
{
	my $data = $node->data_dir;
	my ($oldest) = run_command([ 'pg_controldata', $data ]) =~ /oldestXID:\s+(\d+)/;
	my $next = $oldest + 2**31 - 1 - RESERVED - LEFT;
	my $segment = sprintf '%s/pg_xact/%04X', $data, $next / 2**20;

	append_to_file($segment, "\0" x (8192 * 32));
	chmod 0600, $segment;
	command_ok([ 'pg_resetwal', '-x', $next, $data ], 'the next id is moved');
}

# Take ids until there are none.
sub take_ids
{
	return $node->psql('postgres', q(DO $$ BEGIN LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$)) != 0;
}

add_mock_server(start_mock('mock'));
value("pg_create_logical_replication_slot('old', 'pgoutput')");
$node->stop;
move_next_id();
$node->start;
enqueue('plain', 'mock:gate');
enqueue('tells', 'mock:gate', stream => 'true');
wait_for_request($_) foreach 'plain', 'tells';
ok(take_ids(), 'no transaction id is left');
is(outcome(q(SELECT agno_arun('too late'))), '54000', 'who calls is told so');

open_gate();
wait_for_answer($_) foreach 'plain', 'tells';
ok($node->wait_for_log(qr/agno_bg runner ERROR:  database is not accepting commands/), 'an answer cannot be stored');
value("pg_drop_replication_slot('old')");
$node->command_ok([ 'vacuumdb', '--all', '--freeze', '--quiet' ], 'old ids are vacuumed');
expect_run($_, { status => 'COMPLETED', attempt => 1 }, "an answer has waited for ids: $_") foreach 'plain', 'tells';
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
