# A run that goes on sends what is stored of it, whether its runner still knows what has
# been said or not. Faults injected: the runner is replaced during each call; what is
# stored is changed by hand meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', q{
	CREATE TABLE calls (run_id text, i integer);
	CREATE FUNCTION note(i integer) RETURNS integer LANGUAGE sql
		AS 'INSERT INTO calls VALUES (current_setting(''agno_bg.run_id''), $1) RETURNING i * i';
	CREATE FUNCTION replace_runner(i integer) RETURNS integer LANGUAGE sql AS 'SELECT count(*) FROM pg_stat_activity
		WHERE CASE WHEN backend_type = ''agno_bg runner'' AND $1 < 10 THEN pg_terminate_backend(pid, 10000) END; SELECT note($1)';
	CREATE FUNCTION changed(i integer) RETURNS integer LANGUAGE sql
		AS 'UPDATE agno.run_steps s SET messages = replace(messages, ''the word'', ''another'')
			WHERE s.run_id = current_setting(''agno_bg.run_id'') AND $1 = 3 RETURNING 0; SELECT note($1)';
	INSERT INTO agno.agents (agent_id, model, tools) SELECT tool, 'mock:tools', ARRAY[tool]
		FROM unnest('{note,replace_runner,changed}'::text[]) tool});

# What a run whose four calls are of this tool has sent, in its last request.
sub last_input
{
	my ($tool) = @_;
	call_tools($tool, $tool, [ map { [ [ $tool, { i => $_ } ], [ $tool, { i => 10 * $_ } ] ] } 1 .. 4 ],
		script => { say => [ map { "the word $_" } 1 .. 4 ] });
	is(wait_run($tool), 'COMPLETED', "$tool: the run completes");
	is(value("count(*) || ' ' || count(DISTINCT i) FROM calls WHERE run_id = '$tool'"), '8 8', 'having made each call once');
	my @requests = grep { JSON::PP->new->encode($_->{body}) =~ /\\"id\\":\\"$tool\\"/ } mock_requests('mock');
	is(@requests, 5, 'by five requests');
	my $text = JSON::PP->new->canonical->encode($requests[-1]{body}{input});
	$text =~ s/"$tool"/"tool"/g;
	$text =~ s/\\"$tool\\"/\\"tool\\"/g;
	my %ids;
	$text =~ s/\b((?:call|fc|msg|rs|resp)_\w+)/$ids{$1} \/\/= 'id' . keys %ids/ge;
	return $text;
}

my $known = last_input('note');
like($known, qr/the word 1.*the word 4/, 'all that has been said is sent');
is(last_input('replace_runner'), $known, 'a new runner sends the same');
my $changed = last_input('changed');
like($changed, qr/another 1.*another 4/, 'what has been changed is sent as it is stored');
(my $expected = $known) =~ s/the word/another/g;
is($changed, $expected, 'all of it');

done_testing();
