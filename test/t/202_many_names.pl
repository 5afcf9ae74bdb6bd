# A role has hundreds of servers whose names nobody can look up in time, and gives each up at
# once: the threads that do so are no hundreds, and others' names are looked up beside them.
# The look-up that takes twenty seconds comes from faults/slow_names.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', fault => 'slow_names');
my ($port) = start_mock('mock') =~ /:(\d+)/;
make_user('greedy', 'other');
$node->safe_psql('postgres', qq(
	DO \$\$ BEGIN FOR i IN 1 .. 300 LOOP
		EXECUTE format('CREATE SERVER slow%s FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url ''http://x%s.slow.invalid/v1'', connect_timeout ''50ms'', retries ''0'', unreachable_patience ''0'')', i, i);
		EXECUTE format('GRANT USAGE ON FOREIGN SERVER slow%s TO greedy', i);
	END LOOP;
	FOR i IN 1 .. 5 LOOP
		EXECUTE format('CREATE SERVER quick%s FOREIGN DATA WRAPPER agno_bg OPTIONS (api ''openai-responses'', base_url ''http://x%s.quick.invalid:$port/v1'')', i, i);
		EXECUTE format('GRANT USAGE ON FOREIGN SERVER quick%s TO other', i);
	END LOOP; END \$\$));
as('greedy', q(SELECT count(agno_arun('x', model => 'slow' || i || ':m')) FROM generate_series(1, 300) i));
ok($node->poll_query_until('postgres', q(SELECT count(*) > 50 FROM agno.runs WHERE owner = 'greedy'::regrole AND status = 'ERROR')), 'many are given up');
foreach my $n (1 .. 5)
{
	my $start = time;
	like(as('other', "CALL agno_run('x', model => 'quick$n:echo')"), qr/COMPLETED/, "another role's server is found");
	cmp_ok(time - $start, '<', 5, 'in time');
}
my $threads = status_of(runner_pid(), 'Threads');
note("the runner has $threads threads");
cmp_ok($threads, '>', 5, 'look-ups are under way');
cmp_ok($threads, '<', 70, 'but no hundreds');
ok($node->poll_query_until('postgres', q(SELECT bool_and(status = 'ERROR' AND error->>'type' = 'connection') FROM agno.runs WHERE owner = 'greedy'::regrole)), 'all of them end');

$node->stop('fast');
done_testing();
