# Notifications can be switched off, since LISTEN needs no privilege. When their
# queue is full, no answer that has been paid for is lost: faults/
# full_notify_queue.c refuses commits as PostgreSQL does then.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = build_fault('full_notify_queue');
my $node = new_node('main', no_extension => 1);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'agno_bg,$library'");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION agno_bg');
add_mock_server(start_mock('mock'));

# What a session that listens is told while a run is executed.
sub heard
{
	my ($run_id) = @_;
	return $node->safe_psql('postgres', qq(
		LISTEN agno_run;
		LISTEN agno_run_event;
		SELECT agno_arun('x', model => 'mock:echo', run_id => '$run_id',
			stream => true) \\g /dev/null
		SELECT count(*) FROM agno_wait_run('$run_id') \\g /dev/null
		SELECT 1 \\g /dev/null
		SELECT 1 \\g /dev/null));
}

like(heard('on'), qr/"agno_run" with payload "on"/,
	'whoever listens is told of the end of a run');
like(heard('on2'), qr/"agno_run_event" with payload "on2"/,
	'whoever listens is told of the events of a run');
configure(notify => 'off');
$node->poll_query_until('postgres', "SELECT current_setting('agno_bg.notify') = 'off'");
heard('between');
unlike(heard('off'), qr/payload/,
	'with agno_bg.notify off, nobody is told of anything');
configure(notify => 'on');

# The queue is full
enqueue('paid', 'slow-1000');
wait_for_request('paid');
append_to_file($node->data_dir . '/notify_queue_is_full', '');
wait_until('a commit that fails', sub {
	logged(qr/too many notifications/) });
is(run_status('paid'), 'RUNNING',
	'a run is not blamed for a full notify queue');
unlink $node->data_dir . '/notify_queue_is_full';
is(wait_run('paid'), 'COMPLETED',
	'the answer is stored when the queue has room again');
is(scalar(mock_requests('mock', 'paid')), 1, 'it was asked for once');

$node->stop;
done_testing();
