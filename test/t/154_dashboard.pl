# The queries of doc/grafana.json are accepted as they stand there, of a role that is a member
# of pg_monitor and nothing else, with Grafana's macros replaced as Grafana does; and they
# tell of runs of each kind. Grafana itself is not there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(
	CREATE ROLE grafana LOGIN IN ROLE pg_monitor;
	INSERT INTO agno.prices VALUES ('mock', 'echo', 1, 0.1, 2)));
as('app', q(INSERT INTO agno.agents (agent_id, model) VALUES ('a', 'mock:echo'), ('h', 'mock:hang'), ('e', 'mock:status-400')));
as('app', "SELECT agno_arun('$_', '$_', run_id => '$_')") foreach qw(a e h);
wait_run($_) foreach qw(a e);
wait_for_request('h');

my $dashboard = decode_json(page('doc/grafana.json'));
my @panels = @{ $dashboard->{panels} };
my %ids = map { $_->{id} => 1 } @panels;
is(scalar(keys %ids), scalar(@panels), 'each panel has an id of its own');
is($dashboard->{templating}{list}[0]{type}, 'datasource', 'the data source is chosen by who imports it');

# As Grafana's PostgreSQL data source expands them.
sub expand
{
	my ($sql) = @_;
	my ($from, $to) = split /\|/, value(
		q(to_char(now() - interval '1 hour', f), to_char(now() + interval '1 minute', f) FROM (VALUES ('YYYY-MM-DD"T"HH24:MI:SSOF')) v (f)));
	$sql =~ s/\$__timeFilter\(([^)]*)\)/$1 BETWEEN '$from' AND '$to'/g;
	$sql =~ s/\$__timeFrom\(\)/'$from'/g;
	$sql =~ s/\$__timeGroupAlias\(([^,]*), \$__interval\)/floor(extract(epoch from $1)\/30)*30 AS "time"/g;
	return $sql;
}

my %shown;
foreach my $panel (@panels)
{
	my ($target) = @{ $panel->{targets} };
	my $sql = expand($target->{rawSql});
	unlike($sql, qr/\$/, "$panel->{title}: the macros are known");
	$shown{ $panel->{title} } = outcome_as('grafana', $sql);
	like($shown{ $panel->{title} }, qr/\|/, "$panel->{title}: there is something to show")
	  if $panel->{title} ne 'Oldest waiting';
	unlike($target->{rawSql}, qr/agno\.runs\b/, "$panel->{title}: nothing of what was said is read");
	like($sql, qr/ AS "time"/, "$panel->{title}: there is a time") if $target->{format} eq 'time_series';
}
is($shown{Now}, '1|0|0', 'one run is running');
is($shown{'Oldest waiting'}, '0', 'none waits');
is($shown{'The last hour'}, '2|1|0.000023', 'two have ended, one of them in ERROR');
like($shown{'Runs by how they ended'}, qr/^\d+\|COMPLETED\|1$/m, 'they are counted by status');
like($shown{'Tokens by model'}, qr/^\d+\|mock:echo\|18$/m, 'tokens are counted by model');
like($shown{'Errors by type'}, qr/^\d+\|provider\|1$/m, 'errors are counted by type');
like($shown{'The last errors'}, qr/\|e\|app\|mock\|status-400\|e\|provider\|1$/m, 'the last errors are told');
like($shown{Processes}, qr/\|runner\|/, 'the processes are shown');

$node->stop;
done_testing();
