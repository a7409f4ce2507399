import type { IDataObject } from 'n8n-workflow';

/** How many ids a node remembers: they are written to n8n's database with every new one. */
export const MOST_REMEMBERED = 500;

/** Whether this id was here before; it is remembered, and the oldest one forgotten for it. */
export function isRepeat(state: IDataObject, id: string): boolean {
	const seen = Array.isArray(state.seen) ? (state.seen as string[]) : [];
	if (seen.includes(id)) return true;
	// A new list: n8n saves what is assigned to the static data, and not what changes deep inside.
	state.seen = [...seen, id].slice(-MOST_REMEMBERED);
	return false;
}
