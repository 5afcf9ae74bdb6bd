# A run is in flight, and a prepared transaction holds its lock, when its runner crashes at another
# run: that does not count as an attempt of this one. When it can be had it is not to be executed
# any more: its role may not use the model server, or it is to be cancelled. It ends all the same.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'max_prepared_transactions = 2');
add_mock_server(start_mock('mock'));
make_user('app');

as('app', "SELECT agno_arun('$_', model => 'mock:hang', run_id => '$_')"), wait_for_request($_) for qw(culprit refused cancelled);
foreach my $run (qw(refused cancelled))
{
	as('app', "BEGIN; SELECT agno_cancel_run('$run'); PREPARE TRANSACTION '$run'");
}
$node->stop('immediate');

my ($note) = glob($node->data_dir . '/pg_stat_tmp/agno_bg_*_0');
open(my $file, '+<', $note) or die "$note: $!";
print $file "\1culprit\0";
close $file;
$node->start;
wait_until('both to be set aside', sub { value(q(count(*) FROM agno.run_queue WHERE looks > 0 AND run_id <> 'culprit')) == 2 });
$node->safe_psql('postgres', 'REVOKE USAGE ON FOREIGN SERVER mock FROM PUBLIC');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'refused'");
$node->safe_psql('postgres', "COMMIT PREPARED 'cancelled'");
wait_until('both to have left the queue', sub { value(q(count(*) FROM agno.run_queue WHERE run_id <> 'culprit')) == 0 });
is(value(q(status, error ->> 'type' FROM agno.runs WHERE run_id = 'refused')), 'ERROR|configuration', 'what may not be executed any more has ended, and says why');
is(value(q(status FROM agno.runs WHERE run_id = 'cancelled')), 'CANCELLED', 'and what has been cancelled as well');
as('app', q(SELECT agno_cancel_run('culprit')));
wait_until('the last one to have left', sub { value('count(*) FROM agno.run_queue') == 0 });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
