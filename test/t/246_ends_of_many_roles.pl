# Many roles have large answers to store on a slow disk, more than are stored at once: whose
# answer has come last does not wait for all of them. The disk is faults/slow_disk.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($roles, $runs, $node) = (40, 12, new_node('main', fault => 'slow_disk', conf => 'fsync = on'));
my $mock = start_mock('mock');
add_mock_server($mock);
$node->safe_psql('postgres', "CREATE SERVER large FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$mock'); GRANT USAGE ON FOREIGN SERVER large TO PUBLIC");
my @roles = map { "role$_" } 1 .. $roles;
make_user(@roles, 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));
$node->safe_psql('postgres', join '', 'BEGIN;', (map { "SET SESSION AUTHORIZATION $_; SELECT count(agno_arun('x', model => 'large:huge-300-4000')) FROM generate_series(1, $runs); RESET SESSION AUTHORIZATION;" } @roles), 'COMMIT');
my $longest = longest_call('other', sub { value('count(*) = ' . $roles * $runs . q( FROM agno.runs WHERE model_provider = 'large' AND status = 'COMPLETED')) eq 't' });
note("another waited for $longest s");
cmp_ok($longest, '<', 5, 'another role does not wait for all of theirs');
$node->stop;
done_testing();
