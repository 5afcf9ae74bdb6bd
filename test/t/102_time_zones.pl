# PostgreSQL keeps each time zone that a process names, for ever: so an agent may
# only name those that there are, and the runner takes no others. The fault is a
# definition with a zone that somebody has made up, which was stored before.
# Measured as the memory of the runner for zones.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('b');

is( outcome_as('b',
		"INSERT INTO agno.agents (agent_id, timezone_identifier) VALUES ('x', '$_')"),
	'22023', "an agent does not name the zone $_")
  foreach 'XXX1:00:01', '<+05>-5', 'EST5EDT,M3.2.0,M11.1.0', 'Mars', '../UTC', '';
is( outcome_as('b',
		"INSERT INTO agno.agents (agent_id, timezone_identifier) VALUES ('$_', '$_')"),
	'', "an agent names the zone $_")
  foreach 'Europe/Berlin', 'asia/kolkata', 'UTC', 'Etc/GMT+5';

# What the runner has for time zones, in bytes
sub zone_bytes
{
	my $pid = runner_pid();
	my $before = logged(qr/Grand total/);

	value("pg_log_backend_memory_contexts($pid)");
	wait_until('the memory contexts', sub { logged(qr/Grand total/) > $before });
	my @sizes = slurp_file($node->logfile) =~ /Timezones: (\d+) total/g;
	return $sizes[-1];
}

# Definitions of before
$node->safe_psql(
	'postgres', q(
	ALTER TABLE agno.agents DROP CONSTRAINT agents_timezone_identifier_check;
	INSERT INTO agno.agents (agent_id, model, add_datetime_to_context,
		timezone_identifier)
	SELECT 'made up ' || i, 'mock:echo', true,
		format('XXX%s:%s', i / 60, i % 60)
	FROM generate_series(1, 300) i;
	INSERT INTO agno.agents (agent_id, model, add_datetime_to_context,
		timezone_identifier) VALUES ('tokyo', 'mock:echo', true, 'Asia/Tokyo')));
my $before = zone_bytes();
$node->safe_psql('postgres', q(
	SELECT count(agno_arun('x', 'made up ' || i, run_id => 'r' || i))
	FROM generate_series(1, 300) i));
wait_run("r$_") foreach 1 .. 300;
cmp_ok(zone_bytes() - $before,
	'<', 200_000, 'the runner keeps no zones that have been made up');
is(value("count(*) FROM agno.runs WHERE status = 'COMPLETED'"),
	300, 'runs with such zones are executed');
like((mock_requests('mock', 'x'))[0]->{body}{input}[0]{content},
	qr/current time is [-\d]+ [:\d.]+\.\n/, 'with the time of the server');
$node->safe_psql('postgres', "CALL agno_run('t', 'tokyo')");
like((mock_requests('mock', 't'))[0]->{body}{input}[0]{content},
	qr/current time is [-\d]+ [:\d.]+\+09:00\.\n/, 'a zone is heeded');

$node->stop;
done_testing();
