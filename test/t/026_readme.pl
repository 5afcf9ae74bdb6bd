# The cookbook scripts of the README, run as they stand there: their output is
# what the README says, apart from ids.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($node, $url);
$node->safe_psql('postgres', qq(
	CREATE SERVER openai FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url')));

# Ids, and the spaces that they and psql's lines need.
sub normal
{
	my ($text) = @_;
	$text =~ s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/ID/g;
	$text =~ s/-{2,}/--/g;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/ $//mg;
	$text =~ s/^\s+|\s+$//g;
	return $text;
}

my $readme = slurp_file("$FindBin::Bin/../../README.md");
my ($cookbook) = $readme =~ /^## The cookbook\n(.*?)^## /ms;
my $count = 0;

while ($cookbook =~
	/^\*\*(.*?)\*\*\n\n```sql\n(.*?)^```\n```\n(.*?)^```\n/msg)
{
	my ($name, $script, $expected) = ($1, $2, $3);
	my ($out, $err) = ('', '');

	IPC::Run::run(
		[
			'psql', '--no-psqlrc', '--quiet', '--pset', 'footer=off',
			'--set', 'ON_ERROR_STOP=1', '--host', $node->host, '--port',
			$node->port, 'postgres'
		],
		'<', \$script, '>', \$out, '2>', \$err);
	is($err, '', "$name: no error");
	is(normal($out), normal($expected), "$name: the output");
	$count++;
}
is($count, 3, 'three scripts');

done_testing();
