# What README.md and doc/ show works as it stands there: the first transcript and
# the scripts give the output that is shown, apart from ids, and the recipes
# are accepted.

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
my $url = start_mock('mock');
add_mock_server($node, $url);
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER openai FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url');
	CREATE TABLE docs AS SELECT i AS id, 'text ' || i AS body
		FROM generate_series(1, 3) i;
	CREATE ROLE manager;
	CREATE TABLE notes (run_id text, note text);
	CREATE TABLE mails AS SELECT 'I miss order 17' AS mail));

my $readme = slurp_file("$top/README.md");

# The first transcript
my ($transcript) = $readme =~ /^```sql\n(postgres=# .*?)^```\n/ms;
my ($shown_id, $id);
my $statements = 0;
while ($transcript =~ /^postgres=# (.*?;)\n(.*?)(?=^postgres=# |\z)/msg)
{
	my ($statement, $expected) = ($1, $2);

	$statement =~ s/\Q$shown_id\E/$id/ if $shown_id;
	my ($out, $err) = run_script($node, $statement);
	is($err, '', "the first transcript: $statement gives no error");
	is(normal($out), normal($expected),
		"the first transcript: $statement gives the output that is shown");
	if (!$id)
	{
		my $pattern = qr/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/;
		($shown_id) = $expected =~ $pattern;
		($id) = $out =~ $pattern;
		wait_run($node, $id);
	}
	$statements++;
}
is($statements, 2, 'the first transcript has two statements');

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
is($scripts, 3, 'there are three scripts with their output');

# The recipes: each is accepted, where it is a statement of its own and needs no
# server that is not there.
my ($recipes) = $readme =~ /^## Recipes\n(.*?)^## /ms;
my $tried = 0;
while ($recipes =~ /^\*\*(.*?)\*\*.*?^```sql\n(.*?)^```\n/msg)
{
	my ($name, $script) = ($1, $2);

	next if $script =~ /CREATE SERVER local/;
	$script =~ s/01a204c9-…/$id/g;
	$script =~ s/(SELECT run_id FROM agno_arun\('Extract: ' \|\| mail)/$1/;
	$script =~ s/FROM agno_arun\('Extract: ' \|\| mail/FROM mails, agno_arun('Extract: ' || mail/;
	my ($out, $err) = run_script($node, $script);
	is($err, '', "the recipe \"$name\" is accepted");
	$tried++;
}
is($tried, 11, 'eleven recipes have been tried');

$node->stop;
done_testing();
