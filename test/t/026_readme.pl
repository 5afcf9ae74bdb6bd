# What README.md and doc/ show works as it stands there: the scripts give the output
# that is shown, apart from ids, and what is shown as a first run and as recipes is
# accepted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::Bin/../..";
my $node = new_node('main');
my $url = start_mock('mock', '--script', "$top/test/mock/readme.json");
add_mock_server($node, $url);
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER openai FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url');
	CREATE ROLE manager));

my $readme = slurp_file("$top/README.md");

# Scripts with their output
my $scripts = 0;
foreach my $file ("$top/README.md", glob "$top/doc/*.md")
{
	my $text = slurp_file($file);
	my ($short) = $file =~ m{([^/]+)$};

	while ($text =~
		/^\*\*(.*?)\*\*\n\n```sql\n(.*?)^```\n```\n(.*?)^```\n/msg)
	{
		my ($name, $script, $expected) = ($1, $2, $3);
		my ($out, $err) = run_script($node, $script);

		is($err, '', "$short, $name: the script gives no error");
		is(normal($out), normal($expected),
			"$short, $name: the output is as shown");
		$scripts++;
	}
}
is($scripts, 5, 'there are five scripts with their output');

# A run whose id recipes may use
my ($first) = $readme =~ /^## First run\n.*?```sql\n(SELECT .*?)^```\n/ms;
my $id = 'first';
enqueue($node, $id, 'echo');
wait_run($node, $id);
my ($out, $err) = run_script($node, $first);
is($err, '', 'the first run is accepted');
like($out, qr/COMPLETED.*The capital of France is Paris/, 'and answered');

# The recipes: each is accepted, where it is a statement of its own and needs no
# server that is not there.
my ($recipes) = $readme =~ /^## Recipes\n(.*?)^## /ms;
my $tried = 0;
while ($recipes =~ /^\*\*(.*?)\*\*.*?^```sql\n(.*?)^```\n/msg)
{
	my ($name, $script) = ($1, $2);

	$script =~ s/01a204c9-…/$id/g;
	$script =~ s/ *\\watch.*/;/;
	my ($out, $err) = run_script($node, $script);
	is($err, '', "the recipe \"$name\" is accepted");
	$tried++;
}
is($tried, 8, 'eight recipes have been tried');

$node->stop;
done_testing();
