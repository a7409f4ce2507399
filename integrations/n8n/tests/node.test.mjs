/** The parts of the node that need no gateway: signatures, content modes, repeats. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { FakeN8n } from './double.mjs';

const SECRET = `whsec_${Buffer.from('0123456789abcdefghijABCDEFGHIJ01').toString('base64')}`;
const OTHER = `whsec_${Buffer.from('another secret of 32 characters!').toString('base64')}`;
const NOW = Math.floor(Date.now() / 1000);
const EVENT = {
	specversion: '1.0',
	id: 'evt_1',
	source: '/sources/shop',
	type: 'order.paid',
	datacontenttype: 'application/json',
	data: { order: { name: 'Größe' } },
};

function entry(secret, id, stamp, body) {
	const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
	return `v1,${createHmac('sha256', key).update(`${id}.${stamp}.`).update(body).digest('base64')}`;
}

function delivery(value = EVENT, { secret = SECRET, stamp = NOW, id = 'evt_1', headers = {} } = {}) {
	const body = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
	return {
		body,
		headers: {
			'content-type': 'application/json',
			'webhook-id': id,
			'webhook-timestamp': String(stamp),
			'webhook-signature': entry(secret, id, stamp, body),
			...headers,
		},
	};
}

function subscribed(options = {}, secret = SECRET) {
	const n8n = new FakeN8n({}, { options });
	n8n.staticData = { id: 'sub_1', secret };
	return n8n;
}

test('an authentic delivery starts the workflow with its event', async () => {
	const n8n = subscribed();
	assert.deepEqual(await n8n.take(delivery()), { status: 200, body: undefined });
	assert.deepEqual(n8n.started, [[EVENT]]);
});

test('the bytes are read when n8n has not', async () => {
	const n8n = subscribed();
	await n8n.take(delivery(), { parsed: false });
	assert.deepEqual(n8n.started, [[EVENT]]);
});

for (const [what, sent] of Object.entries({
	'another body': { ...delivery(), body: Buffer.from('{}') },
	'another id': delivery(EVENT, { headers: { 'webhook-id': 'evt_2' } }),
	'another secret': delivery(EVENT, { secret: OTHER }),
	'a time too long ago': delivery(EVENT, { stamp: NOW - 310 }),
	'a time to come': delivery(EVENT, { stamp: NOW + 310 }),
	'no time': delivery(EVENT, { headers: { 'webhook-timestamp': 'now' } }),
	'no signature': delivery(EVENT, { headers: { 'webhook-signature': undefined } }),
	'an empty signature': delivery(EVENT, { headers: { 'webhook-signature': '' } }),
	'a signature of other length': delivery(EVENT, { headers: { 'webhook-signature': 'v1,AAAA' } }),
	'a signature of another kind': delivery(EVENT, {
		headers: { 'webhook-signature': entry(SECRET, 'evt_1', NOW, JSON.stringify(EVENT)).replace('v1,', 'v2,') },
	}),
	'a header that came twice': delivery(EVENT, { headers: { 'webhook-id': ['evt_1', 'evt_1'] } }),
})) {
	test(`refused with 401: ${what}`, async () => {
		const n8n = subscribed();
		assert.equal((await n8n.take(sent)).status, 401);
		assert.deepEqual(n8n.started, []);
		assert.equal(n8n.staticData.seen, undefined, 'what is forged is not remembered');
	});
}

test('without a subscription everything is refused', async () => {
	for (const secret of [undefined, '', 'whsec_', `whsec_${'A'.repeat(8)}`, 'plain']) {
		const n8n = subscribed({}, secret);
		const key = secret?.startsWith('whsec_') ? secret : 'whsec_';
		assert.equal((await n8n.take(delivery(EVENT, { secret: key }))).status, 401);
	}
});

test('the edges of the tolerance pass', async () => {
	for (const stamp of [NOW - 290, NOW + 290]) {
		assert.equal((await subscribed().take(delivery(EVENT, { stamp }))).status, 200);
	}
});

test('one of several signatures is enough, and one of several secrets', async () => {
	const { headers } = delivery(EVENT, { secret: OTHER });
	const both = `v1a,xyz ${headers['webhook-signature']} ${delivery().headers['webhook-signature']}`;
	const rotated = delivery(EVENT, { headers: { 'webhook-signature': both } });
	assert.equal((await subscribed().take(rotated)).status, 200);
	const more = subscribed({ furtherSecrets: `whsec_none, ${OTHER}` });
	assert.equal((await more.take(delivery(EVENT, { secret: OTHER }))).status, 200);
	assert.equal((await more.take(delivery(EVENT, { id: 'evt_2' }))).status, 200);
});

for (const type of ['application/cloudevents+json', 'application/cloudevents+json; charset=utf-8']) {
	test(`structured: ${type}`, async () => {
		const n8n = subscribed();
		await n8n.take(delivery(EVENT, { headers: { 'content-type': type } }));
		assert.deepEqual(n8n.started, [[EVENT]]);
	});
}

test('binary: the envelope is made again', async () => {
	const n8n = subscribed();
	const headers = { 'content-type': 'application/json' };
	for (const name of ['specversion', 'id', 'source', 'type']) headers[`ce-${name}`] = EVENT[name];
	headers['ce-subject'] = 'Gr%C3%B6%C3%9Fe%2';
	await n8n.take(delivery(EVENT.data, { headers }));
	assert.deepEqual(n8n.started, [[{ ...EVENT, subject: 'Gr%C3%B6%C3%9Fe%2' }]]);
	headers['ce-subject'] = 'Gr%C3%B6%C3%9Fe';
	headers['content-type'] = 'text/plain';
	await n8n.take(delivery(Buffer.from('hello'), { id: 'evt_2', headers }));
	assert.equal(n8n.started[1][0].subject, 'Größe');
	assert.equal(n8n.started[1][0].data, 'hello');
	headers['content-type'] = 'image/png';
	await n8n.take(delivery(Buffer.from([1, 2]), { id: 'evt_3', headers }));
	assert.equal(n8n.started[2][0].data_base64, 'AQI=');
});

for (const type of ['application/cloudevents-batch+json', 'application/json']) {
	test(`batch: ${type}, one item per event`, async () => {
		const n8n = subscribed();
		const events = [EVENT, { ...EVENT, id: 'evt_2' }];
		await n8n.take(delivery(events, { headers: { 'content-type': type } }));
		assert.deepEqual(n8n.started, [events]);
	});
}

test('what is authentic but no CloudEvent is answered 400', async () => {
	for (const value of [{}, [], [EVENT, {}], null, 'text', Buffer.from('{'), Buffer.alloc(0)]) {
		const n8n = subscribed();
		assert.equal((await n8n.take(delivery(value))).status, 400);
		assert.deepEqual(n8n.started, []);
		assert.equal(n8n.staticData.seen, undefined);
	}
});

test('a repeat starts nothing, unless it shall', async () => {
	const n8n = subscribed();
	for (const id of ['evt_1', 'evt_1', 'evt_2', 'evt_1']) {
		assert.equal((await n8n.take(delivery(EVENT, { id }))).status, 200);
	}
	assert.equal(n8n.started.length, 2);
	const eager = subscribed({ dropRepeats: false });
	await eager.take(delivery());
	await eager.take(delivery());
	assert.equal(eager.started.length, 2);
	assert.equal(eager.staticData.seen, undefined);
});

test('what is remembered has a bound', async () => {
	const n8n = subscribed();
	for (let i = 0; i <= 500; i += 1) await n8n.take(delivery(EVENT, { id: `evt_${i}` }));
	assert.equal(n8n.staticData.seen.length, 500);
	assert.equal((await n8n.take(delivery(EVENT, { id: 'evt_0' }))).status, 200);
	assert.equal(n8n.started.length, 502, 'the oldest one was forgotten');
	await n8n.take(delivery(EVENT, { id: 'evt_500' }));
	assert.equal(n8n.started.length, 502, 'the newest one was not');
});
