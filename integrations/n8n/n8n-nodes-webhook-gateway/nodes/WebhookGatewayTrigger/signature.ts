import { createHmac, timingSafeEqual } from 'crypto';

const PREFIX = 'whsec_';
const SHORTEST_KEY = 24; // bytes, Standard Webhooks "Signature scheme"
const LONGEST_KEY = 64;
const TOLERANCE = 300; // seconds; what the reference libraries allow
const MOST_ENTRIES = 50; // a rotation has two; far more is an attempt to make us work

/** Headers by their names in lower case, as Node has them. */
export type Headers = Record<string, string | string[] | undefined>;

/** The `webhook-id` of an authentic delivery, or why it is refused. */
export type Verdict = { id: string; problem?: undefined } | { id?: undefined; problem: string };

/**
 * Whether one of `secrets` signed these bytes, at most five minutes ago (Standard Webhooks 1.0.0).
 *
 * `secrets` are written `whsec_` + base64; `now` is Unix time in seconds. It never throws.
 */
export function verify(
	body: Buffer,
	headers: Headers,
	secrets: readonly string[],
	now: number,
): Verdict {
	const id = headers['webhook-id'];
	const stamp = headers['webhook-timestamp'];
	const signature = headers['webhook-signature'];
	if (typeof id !== 'string' || typeof stamp !== 'string' || typeof signature !== 'string') {
		return { problem: 'webhook-id, webhook-timestamp or webhook-signature is missing' };
	}
	if (!/^\d{1,12}$/.test(stamp)) return { problem: 'webhook-timestamp is no Unix time' };
	if (Math.abs(now - Number(stamp)) > TOLERANCE) {
		return { problem: 'webhook-timestamp is more than five minutes off' };
	}
	const keys = secrets.map(keyOf).filter((key) => key !== undefined);
	if (keys.length === 0) return { problem: 'there is no secret to verify with' };
	const content = Buffer.concat([Buffer.from(`${id}.${stamp}.`), body]);
	const expected = keys.map((key) => createHmac('sha256', key).update(content).digest());
	const given = signature.split(' ').slice(0, MOST_ENTRIES).flatMap(digestOf);
	// Every pair is compared, so that the time says nothing of which secret signed.
	const fits = given.flatMap((one) => expected.map((other) => timingSafeEqual(one, other)));
	return fits.includes(true) ? { id } : { problem: 'no v1 signature matches' };
}

/** The secrets in a text in which they stand apart by blanks, commas or line breaks. */
export function secretsIn(text: string): string[] {
	return text.split(/[\s,]+/).filter((one) => one.length > 0);
}

/** The bytes of a secret; `undefined` for what is none. */
export function keyOf(secret: string): Buffer | undefined {
	if (!secret.startsWith(PREFIX)) return undefined;
	const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
	return key.length >= SHORTEST_KEY && key.length <= LONGEST_KEY ? key : undefined;
}

function digestOf(entry: string): Buffer[] {
	if (!entry.startsWith('v1,')) return [];
	const digest = Buffer.from(entry.slice('v1,'.length), 'base64');
	return digest.length === 32 ? [digest] : [];
}
