# One role cancels hundreds of runs in background mode, whose server takes a minute to hear
# of it: servers of others are told all the same that nobody wants a response any more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (250, new_node('main', conf => "agno_bg.max_concurrent_runs = 500\n"));
add_mock_server(start_mock('mock'));
make_user('app', 'boss');
my $background = q(model_options => '{"background": true}');
my $started = sub { my ($role, $count) = @_;
	ok($node->poll_query_until('postgres', "SELECT count(*) = $count FROM agno.run_requests WHERE response_id IS NOT NULL AND owner = '$role'::regrole"), "$count responses of $role are being worked on"); };
my $cancels = sub { grep { $_->{event} eq 'request' && $_->{path} =~ m{/cancel$} } mock_log('mock') };
as('app', "SELECT count(agno_arun('x', model => 'mock:work-60000-stubborn', $background)) FROM generate_series(1, $runs)");
$started->('app', $runs);
as('app', q(SELECT count(agno_cancel_run(run_id)) FROM agno.runs));
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'CANCELLED'"), 'all are cancelled');
wait_until('cancels', sub { (() = $cancels->()) >= 100 });
is(scalar(() = $cancels->()), 100, 'their server is told of as many as are left to others');
as('boss', "SELECT agno_arun('x', model => 'mock:work-60000', run_id => 'boss', $background)");
$started->('boss', 1);
as('boss', q(SELECT agno_cancel_run('boss')));
wait_until('a cancel of another role', sub { (() = $cancels->()) > 100 });
pass('and then of those of another role');
$node->stop;
done_testing();
