# What the tests of README.md and doc/ share: the blocks of a page, and psql as its
# readers call it.

package AgnoDocs;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Utils;

our @EXPORT = qw(page sections blocks normal run_script);

# The text of a page, by its path in the repository.
sub page
{
	my ($path) = @_;
	return slurp_file("$FindBin::Bin/../../$path");
}

# The sections of a page at this level of headings, as pairs of the heading and the text
# below it.
sub sections
{
	my ($text, $level) = @_;
	my $mark = '#' x ($level // 2);
	my (undef, @sections) = split /^$mark (.*)\n/m, $text;
	return @sections;
}

# The fenced blocks of a text, in order: [language, what else is said beside it, code].
sub blocks
{
	my ($text) = @_;
	my @blocks;

	push @blocks, [ $1, $2, $3 ]
	  while $text =~ /^```(\w*)[ ]?([^\n]*)\n(.*?)^```$/msg;
	return @blocks;
}

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

# The output and the errors of a script as psql shows them; arguments of psql may
# follow.
sub run_script
{
	my ($node, $script, @arguments) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(
		[
			'psql', '--no-psqlrc', '--quiet', '--pset', 'footer=off',
			'--set', 'ON_ERROR_STOP=1', '--host', $node->host, '--port',
			$node->port, @arguments, 'postgres'
		],
		'<', \$script, '>', \$out, '2>', \$err);
	return ($out, $err);
}

1;
