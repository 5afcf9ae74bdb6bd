/*
 * slot.c: the slots of ids. The numbers are promised: an id that is stored now has
 * the same slot on every server, for ever.
 */
#include "core/portable.h"

#include "core/slot.h"
#include "unit.h"

int
main(void)
{
	char		id[UUID_TEXT_SIZE];

	/* Generated ones: the last 16 bits, the higher ones first. */
	check(id_slot("01a204c9-e2eb-7a09-8b7f-da3b38750001") == 0x0001);
	check(id_slot("01a204c9-e2eb-7a09-8b7f-da3b3875ff00") == 0xff00);
	check(id_slot("01a204c9-e2eb-7a09-8b7f-da3b3875db67") == 0xdb67);
	check(id_slot("01a204c9-e2eb-7a09-bb7f-da3b3875ffff") == SLOTS - 1);

	/* Of others: the first 16 bits of SHA-256, in UTF-8. */
	check(id_slot("") == 0xe3b0);
	check(id_slot("abc") == 0xba78);
	check(id_slot("customer-42") == 0xa045);
	check(id_slot("kund\xc3\xa9-1") == 0xae98);

	/* What only resembles a generated one has no bits to read. */
	check(!looks_generated("01a204c9-e2eb-4a09-8b7f-da3b3875db67"));
	check(!looks_generated("01a204c9-e2eb-7a09-cb7f-da3b3875db67"));
	check(!looks_generated("01A204C9-E2EB-7A09-8B7F-DA3B3875DB67"));
	check(!looks_generated("01a204c9-e2eb-7a09-8b7f-da3b3875db6"));
	check(!looks_generated("01a204c9-e2eb-7a09-8b7f-da3b3875db67 "));
	check(!looks_generated("01a204c9-e2eb-7a09-8b7f_da3b3875db67"));
	check(!looks_generated("{01a204c9-e2eb-7a09-8b7f-da3b3875db6}"));
	check(!looks_generated(""));

	/* The sessions of children are where those of their parents are. */
	check(id_slot("01a204c9-e2eb-7a09-8b7f-da3b3875db67/researcher") == 0xdb67);
	check(looks_generated("01a204c9-e2eb-7a09-8b7f-da3b3875db67/researcher"));
	check(id_slot("customer-42/a/b") == id_slot("customer-42"));
	check(id_slot("/a") == id_slot(""));

	/* A new id has the slot that was asked for. */
	for (int slot = 0; slot < SLOTS; slot++)
	{
		if (!new_id(id, slot) || !looks_generated(id) || id_slot(id) != slot)
		{
			check(slot == -1);
			break;
		}
	}
	check(new_id(id, ANY_SLOT) && looks_generated(id));
	return unit_done();
}
