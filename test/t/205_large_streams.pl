# What has arrived of many streamed answers is large, since they were locked: it is told in
# pieces, as much as a turn may have. No character is cut, and no key.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($runs, $node) = (30, new_node('main'));
my $url = start_mock('mock');
add_mock_server($url);
make_user('app', 'boss');
$node->safe_psql('postgres', q(GRANT USAGE ON FOREIGN DATA WRAPPER agno_bg TO app; GRANT CREATE ON DATABASE postgres TO app));
as('app', qq(CREATE SERVER own FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url');
	CREATE USER MAPPING FOR app SERVER own OPTIONS (api_key 'sk-key-12345')));
# A long word comes after two seconds, and then a short one each second.
my $rest = q(|| repeat(' z', 100));
as('app', "SELECT agno_arun('ab' || repeat('\x{c3}\x{a9}', 1000000) $rest, run_id => 'accents', model => 'mock:words-1000', stream => true);
	SELECT agno_arun('ab' || repeat('sk-key-12345', 100000) $rest, run_id => 'keys', model => 'own:words-1000', stream => true);
	SELECT count(agno_arun(repeat('\"\\', 1000000) $rest, run_id => 'app' || i, model => 'mock:words-1000', stream => true)) FROM generate_series(3, $runs) i");
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE status = 'RUNNING'"), 'all are streamed');
my $runner = runner_pid();
my $locker = $node->background_psql('postgres', extra_params => [ '-U', 'app' ]);
$locker->query_safe('BEGIN; SELECT count(agno_cancel_run(run_id)) FROM agno.runs');
# The mock notes nothing of what it has sent: it has when nothing grows any more.
my ($size, $same) = (0, 0);
wait_until('all to have arrived', sub {
	my $now = status_of($runner, 'VmRSS');
	$same = abs($now - $size) < 2000 ? $same + 1 : 0;
	$size = $now;
	sleep 1;
	return $same >= 4;
});
PostgreSQL::Test::Utils::append_to_file("/proc/$runner/clear_refs", '5');
my $before = status_of($runner, 'VmHWM');
$locker->query_safe('ROLLBACK');
$locker->quit;
as('boss', q(CALL agno_run('x', model => 'mock:echo')));
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM (SELECT run_id FROM agno.run_events WHERE event = 'RunContent' GROUP BY 1 HAVING sum(length(data ->> 'content')) > 300000) r"), 'all are told of');
my $after = status_of($runner, 'VmHWM');
note($after - $before);
cmp_ok($after - $before, '<', 200000, 'without all of it in memory (kB)');
is(value(q(count(*) FROM agno.run_events WHERE octet_length(data ->> 'content') > 1000000)), 0, 'in pieces');
ok($node->poll_query_until('postgres', "SELECT string_agg(data ->> 'content', '' ORDER BY seq) ~ ('^You said: ab' || repeat('\x{c3}\x{a9}', 200) || '+ z') FROM agno.run_events WHERE run_id = 'accents' AND event = 'RunContent'"), 'of whole characters');
is(value(q(regexp_replace(string_agg(data ->> 'content', '' ORDER BY seq), '( z)* ?$', '') = 'You said: ab' || repeat('***', 100000) FROM agno.run_events WHERE run_id = 'keys' AND event = 'RunContent')), 't', 'without keys');
ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE length(content) > 300000"), 'and are shown');
is(runner_pid(), $runner, 'by the same runner');
$node->stop('immediate');
done_testing();
