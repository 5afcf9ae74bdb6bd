# A node that follows the first one tells it that agents have arrived when its synchronous
# standby has them, so they survive the node's failover. Fault injected: the standby
# is gone for a while.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = map { new_node($_, init => { allows_streaming => 'logical' }) } 'n1', 'n2';
my $url = start_mock('mock');
add_mock_server($_, $url) foreach $n1, $n2;
value($n1, $_) foreach 'agno.publish_agents()', "agno.publish_agents('agno_n2')";
value($n2, "agno.follow_agents('" . $n1->connstr('postgres') =~ s/'/''/gr . "', 'agno_n2')");
sub arrives { my ($id) = @_; return $n2->poll_query_until('postgres', "SELECT count(*) = 1 FROM agno.agents WHERE agent_id = '$id'"); }
$n1->safe_psql('postgres', q(INSERT INTO agno.agents (agent_id, model) VALUES ('a', 'mock:echo')));
ok(arrives('a'), 'agents arrive');
$n1->poll_query_until('postgres', 'SELECT confirmed_flush_lsn >= pg_current_wal_lsn() FROM pg_replication_slots') or die;

$n2->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'gone'");
$n2->reload;
$n1->safe_psql('postgres', q(INSERT INTO agno.agents (agent_id, model) VALUES ('b', 'mock:echo')));
my $written = value($n1, 'pg_current_wal_insert_lsn()');
ok($n2->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%worker' AND wait_event = 'SyncRep'"), 'the standby is waited for');
is(value($n1, "confirmed_flush_lsn < '$written' FROM pg_replication_slots"), 't', 'the first node keeps what the standby does not have');
$n2->safe_psql('postgres', q(SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names));
$n2->reload;
ok(arrives('b'), 'then it arrives');

$_->stop foreach $n2, $n1;
done_testing();
