/**
 * The life of a subscription, against a gateway that runs: `GATEWAY_URL` is its public listener,
 * `GATEWAY_KEY` a key of the role `subscriber`, `SHOP_SECRET` what its PrintStudio source `shop`
 * signs with. tests/acceptance/test_n8n.py starts it, and this.
 */
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';

import { Catcher, FakeN8n } from './double.mjs';

const { GATEWAY_URL: URL_OF_GATEWAY, GATEWAY_KEY: KEY, SHOP_SECRET } = process.env;
const CREDENTIALS = { url: `${URL_OF_GATEWAY}/`, apiKey: KEY }; // people type the last / as well
const skip = URL_OF_GATEWAY ? false : 'no gateway: GATEWAY_URL is not set';

const catcher = new Catcher();
let address;
before(async () => {
	address = await catcher.listen();
});
after(() => catcher.close());

/** A new n8n whose webhook is reached at the catcher. */
function installed(parameters, path = `/webhook/${randomUUID()}/webhook`) {
	const n8n = new FakeN8n(CREDENTIALS, parameters);
	n8n.url = `${address}${path}`;
	catcher.n8n = n8n;
	return n8n;
}

/** A call of the API beside the node. */
async function api(method, path, body) {
	const answer = await fetch(`${URL_OF_GATEWAY}${path}`, {
		method,
		headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
		body: body && JSON.stringify(body),
	});
	const text = await answer.text();
	return { status: answer.status, body: text && JSON.parse(text) };
}

/** A callback of the shop, of which one event is made; its order. */
async function sell() {
	const order = `ord-${randomUUID()}`;
	const body = JSON.stringify({
		id: randomUUID(),
		event: 'order.created',
		timestamp: '2026-01-15T14:30:00Z',
		data: { orderId: order },
	});
	const digest = createHmac('sha256', SHOP_SECRET).update(body).digest('hex');
	const headers = { 'x-printstudio-signature': `sha256=${digest}` };
	const answer = await fetch(`${URL_OF_GATEWAY}/hooks/shop`, { method: 'POST', headers, body });
	assert.equal(answer.status, 200);
	return order;
}

/** Sell something; the delivery of it. */
async function delivered() {
	const number = catcher.deliveries.length + 1;
	const order = await sell();
	return [order, await catcher.delivery(number)];
}

test('the credential: a key that works, and one that does not', { skip }, async () => {
	const n8n = installed();
	assert.equal(await n8n.testCredential(), 200);
	n8n.credentials = { ...CREDENTIALS, apiKey: 'gwk_nonsense' };
	assert.equal(await n8n.testCredential(), 401);
});

test('the drop-down has the event types', { skip }, async () => {
	const offered = (await installed().eventTypes()).map(({ value }) => value);
	for (const type of ['order.*', 'gateway.*', 'order.paid', 'order.shipped']) {
		assert.ok(offered.includes(type), type);
	}
	assert.equal(new Set(offered).size, offered.length);
});

test('on, a delivery, forged, again, off, on', { skip }, async () => {
	const n8n = installed({ types: ['order.created'] });
	assert.equal(await n8n.activate(), 'created');
	assert.deepEqual(n8n.calls, ['POST /v1/subscriptions']);
	const { id, secret } = n8n.staticData;
	assert.match(secret, /^whsec_/);
	const { body: made } = await api('GET', `/v1/subscriptions/${id}`);
	assert.deepEqual(made.types, ['order.created']);
	assert.equal(`${made.profile} ${made.mode} ${made.description}`, 'n8n json n8n: Orders');

	const [order, delivery] = await delivered();
	assert.equal(delivery.answered, 200);
	assert.equal(n8n.started.length, 1);
	assert.equal(n8n.started[0].length, 1);
	assert.equal(n8n.started[0][0].type, 'order.created');
	assert.equal(n8n.started[0][0].subject, order);

	const forged = { ...delivery, body: Buffer.from(`${delivery.body} `) };
	assert.equal((await n8n.take(forged)).status, 401);
	assert.equal((await n8n.take(delivery)).status, 200);
	assert.equal(n8n.started.length, 1, 'neither what is forged nor what is repeated starts it');

	n8n.calls = [];
	assert.equal(await n8n.activate(), 'existed', 'n8n was started again');
	assert.deepEqual(n8n.calls, [`GET /v1/subscriptions/${id}`]);

	const kept = n8n.staticData;
	n8n.staticData = {}; // as after the import of an old backup
	assert.equal(await n8n.activate(), 'created');
	assert.equal(n8n.staticData.id, id, 'the same URL is the same subscription');
	assert.equal(n8n.staticData.secret, secret);

	assert.equal(await n8n.deactivate(), true);
	assert.equal(n8n.calls.at(-1), `DELETE /v1/subscriptions/${id}`);
	assert.equal(n8n.staticData.id, undefined);
	assert.equal(await n8n.deactivate(), true, 'there is nothing to end');
	assert.equal((await api('GET', `/v1/subscriptions/${id}`)).status, 404);

	n8n.staticData = kept; // n8n did not save that it was switched off
	assert.equal(await n8n.deactivate(), true, 'gone already');
	n8n.staticData = kept;
	n8n.calls = [];
	assert.equal(await n8n.activate(), 'created');
	await n8n.deactivate();
});

test('another URL, and a subscription that is gone, are subscribed again', { skip }, async () => {
	const n8n = installed();
	await n8n.activate();
	const { id, secret } = n8n.staticData;
	n8n.url = `${address}/webhook/moved/webhook`;
	assert.equal(await n8n.activate(), 'created');
	assert.notEqual(n8n.staticData.id, id);
	assert.notEqual(n8n.staticData.secret, secret);
	await api('DELETE', `/v1/subscriptions/${id}`);
	await api('DELETE', `/v1/subscriptions/${n8n.staticData.id}`);
	n8n.calls = [];
	assert.equal(await n8n.activate(), 'created');
	assert.equal(n8n.calls.length, 2, 'asked, and subscribed after the 404');
	await n8n.deactivate();
});

test('the options reach the gateway', { skip }, async () => {
	const n8n = installed({
		types: ['order.*'],
		options: {
			flat: true,
			filters: '[{"prefix": {"subject": "ord-"}}]',
			shops: 'default, other',
			sources: 'shop',
		},
	});
	await n8n.activate();
	const { body: made } = await api('GET', `/v1/subscriptions/${n8n.staticData.id}`);
	assert.equal(made.flat, true);
	assert.deepEqual(made.filters, [{ prefix: { subject: 'ord-' } }]);
	assert.deepEqual([made.shops, made.sources], [['default', 'other'], ['shop']]);
	await delivered();
	const [[item]] = n8n.started;
	const nested = Object.values(item).filter((value) => typeof value === 'object' && value);
	assert.deepEqual(nested, [], 'no field of it is nested');
	await n8n.deactivate();
});

test('every mode that a subscription can have is taken', { skip }, async () => {
	const n8n = installed();
	await n8n.activate();
	const [, json] = await delivered();
	assert.equal(json.headers['content-type'], 'application/json');
	for (const mode of ['structured', 'binary']) {
		const changed = await api('PATCH', `/v1/subscriptions/${n8n.staticData.id}`, { mode });
		assert.equal(changed.body.mode, mode);
		const [order, delivery] = await delivered();
		assert.equal(delivery.answered, 200, mode);
		assert.equal('ce-type' in delivery.headers, mode === 'binary');
		const item = n8n.started.at(-1)[0];
		assert.deepEqual([item.subject, item.type], [order, 'order.created']);
		assert.deepEqual(Object.keys(item).sort(), Object.keys(n8n.started[0][0]).sort());
	}
	await n8n.deactivate();
});

test('a batch gives one item per event', { skip }, async () => {
	const n8n = installed();
	const wanted = { url: n8n.url, mode: 'batch', batch_size: 2, batch_wait: '20s' };
	const { body: made } = await api('POST', '/v1/subscriptions', wanted);
	n8n.parameters.options = { furtherSecrets: made.secret };
	const number = catcher.deliveries.length + 1;
	const orders = [await sell(), await sell()];
	const batch = await catcher.delivery(number);
	assert.match(batch.headers['content-type'], /^application\/cloudevents-batch\+json/);
	assert.equal(batch.answered, 200);
	assert.deepEqual(n8n.started[0].map(({ subject }) => subject), orders);
	await api('DELETE', `/v1/subscriptions/${made.id}`);
});

test('a rotation: both secrets, then the new one as a further one', { skip }, async () => {
	const n8n = installed();
	await n8n.activate();
	const rotate = (overlap) =>
		api('POST', `/v1/subscriptions/${n8n.staticData.id}/rotate`, { overlap });
	await rotate('1h');
	assert.equal((await delivered())[1].answered, 200, 'the old one still signs');
	const { body: rotated } = await rotate('0s');
	const number = catcher.deliveries.length + 1;
	await sell();
	assert.equal((await catcher.delivery(number)).answered, 401, 'it does no longer');
	n8n.parameters.options = { furtherSecrets: rotated.secret };
	assert.equal((await n8n.take(await catcher.delivery(number))).status, 200);
	await n8n.deactivate();
	n8n.parameters.options = {};
	await n8n.activate();
	assert.equal((await delivered())[1].answered, 200, 'off and on gets the new one');
	await n8n.deactivate();
});

test('the URL of a test run ends by itself', { skip }, async () => {
	const n8n = installed({}, '/webhook-test/5f0c/webhook');
	await n8n.activate();
	const { body: made } = await api('GET', `/v1/subscriptions/${n8n.staticData.id}`);
	const left = Date.parse(made.expires_at) - Date.now();
	assert.ok(left > 540_000 && left <= 600_000, `${left} ms`);
	await n8n.deactivate();
});

test('what the gateway refuses is told in its own words', { skip }, async () => {
	const wrongKey = installed();
	wrongKey.credentials = { ...CREDENTIALS, apiKey: 'gwk_nonsense' };
	await assert.rejects(wrongKey.activate(), { httpCode: '401' });
	const wrongType = installed({ types: ['order.*', 'Order Paid!'] });
	await assert.rejects(wrongType.activate(), ({ message, httpCode }) => {
		assert.match(message, /types/);
		return httpCode === '400' || httpCode === '422';
	});
	const wrongFilters = installed({ options: { filters: '{"exact"' } });
	await assert.rejects(wrongFilters.activate(), { message: 'Filters is no JSON' });
	assert.deepEqual(wrongFilters.calls, []);
	assert.equal(wrongType.staticData.id, undefined);
});
