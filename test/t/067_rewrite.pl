# VACUUM FULL, CLUSTER and a restore leave the tables no larger than they were:
# room to grow belongs to rows that still grow. And a DBA may add a column to
# agno.runs, and drop it again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'autovacuum = off');
my $dir = $PostgreSQL::Test::Utils::tmp_check;
add_mock_server(start_mock('mock'));

my $sizes = "pg_relation_size('agno.runs'), pg_relation_size('agno.sessions')";
my $options = "string_agg(reloptions::text, ' ' ORDER BY relname) FROM pg_class
	WHERE oid IN ('agno.runs'::regclass, 'agno.sessions'::regclass)";

$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 3000) i,
		agno_arun('question ' || i, model => 'mock:echo')));
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3000 FROM agno.runs WHERE status = 'COMPLETED'"),
	'3,000 runs complete');
$node->safe_psql('postgres', 'VACUUM agno.runs, agno.sessions');
my ($runs, $sessions) = split /\|/, value($sizes);
my $before = value($options);

sub no_larger
{
	my ($what, $database) = @_;
	my ($new_runs, $new_sessions) = split /\|/, value($sizes, $database);

	note("$what: agno.runs $runs, now $new_runs; agno.sessions $sessions, now $new_sessions");
	cmp_ok($new_runs, '<=', $runs, "$what leaves agno.runs no larger");
	cmp_ok($new_sessions, '<=', $sessions, "$what leaves agno.sessions no larger");
	is(value($options, $database), $before, "$what leaves their options");
}

$node->safe_psql('postgres', 'VACUUM FULL agno.runs; VACUUM FULL agno.sessions');
no_larger('VACUUM FULL');
$node->safe_psql('postgres', 'CLUSTER agno.runs USING runs_pkey;
	CLUSTER agno.sessions USING sessions_pkey');
no_larger('CLUSTER');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok(
	[ 'pg_dump', '-f', "$dir/dump.sql", $node->connstr('postgres') ],
		'pg_dump succeeds');
$node->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql",
		$node->connstr('copy') ], 'psql restores the dump');
no_larger('a restore', 'copy');
is( $node->safe_psql('copy', "CALL agno_run('x', model => 'mock:echo')")
	  =~ s/.*\|(COMPLETED)\|.*/$1/sr, 'COMPLETED', 'the copy executes runs');

# A column of the DBA's, in one session
my $uses = q(
	SELECT agno_arun('column', model => 'mock:echo', run_id => 'cRUN') \g /dev/null
	SELECT status FROM agno_wait_run('cRUN');
	SELECT status, content FROM agno_get_run_output('cRUN');
	SELECT agno_run_output_dict('cRUN')->>'status';
	SELECT run_data->>'status' FROM agno.agno_runs WHERE run_id = 'cRUN';
	SELECT count(*) FROM agno.stats WHERE status = 'ERROR';
	CALL agno_run('column', model => 'mock:echo', run_id => 'dRUN') \g /dev/null
	SELECT status FROM agno_get_run_output('dRUN');
);
my $script = ($uses =~ s/RUN/1/gr)
  . "ALTER TABLE agno.runs ADD COLUMN tenant integer DEFAULT 7;\n"
  . ($uses =~ s/RUN/2/gr)
  . "SELECT tenant FROM agno_get_run_output('c2');\nSELECT tenant FROM agno_wait_run('c2');\n"
  . "ALTER TABLE agno.runs DROP COLUMN tenant;\n"
  . ($uses =~ s/RUN/3/gr);
my $each = "COMPLETED\nCOMPLETED|You said: column\nCOMPLETED\nCOMPLETED\n0\nCOMPLETED\n";
is($node->safe_psql('postgres', $script) . "\n", "$each${each}7\n7\n$each",
	'a column that is added, and dropped again, breaks nothing');

$node->stop;
done_testing();
