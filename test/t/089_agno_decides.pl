# Agno's own package, of the lines 2 and 3, lists what a PAUSED run waits for, decides
# with its own methods, and what it sends back is accepted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %python = agno_packages();
my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
$node->safe_psql('postgres', q{
	CREATE FUNCTION careful(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'did ' || what $$;
	CREATE FUNCTION free() RETURNS text LANGUAGE sql AS $$ SELECT 'free' $$;
	CREATE FUNCTION mail(subject text, recipient text) RETURNS text LANGUAGE sql AS $$ SELECT subject || ' to ' || recipient $$;
	INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('mail', 'mail', '{recipient}');
	INSERT INTO agno.tools (tool, parameters, external_execution) VALUES ('shell', '{"type": "object", "properties": {"command": {"type": "string"}}}', true);
	INSERT INTO agno.agents (agent_id, model, tools, requires_confirmation) VALUES ('a', 'mock:tools', '{careful,free,mail,shell}', '{careful}')});

foreach my $line (sort keys %python)
{
	my ($host, $port) = ($node->host, $node->port);
	my $base = "$PostgreSQL::Test::Utils::tmp_check/agno-$line";
	my $result = IPC::Run::run(
		[ $python{$line}, "$FindBin::Bin/../interop/agno_decides.py", "postgresql+psycopg:///postgres?host=$host&port=$port", $url ],
		'<', '/dev/null', '>', "$base.out", '2>', "$base.err");
	my $out = slurp_file("$base.out");
	my $count = () = $out =~ /^ok /mg;

	ok($result, "Agno $line decides")
	  or diag(join("\n", grep { !/^ok / } split(/\n/, $out)), "\n", slurp_file("$base.err"));
	ok($count > 14, "Agno $line was held against in $count ways");
}

done_testing();
