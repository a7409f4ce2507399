'use strict';

// Against a gateway that runs: tests/acceptance/test_zapier.py starts one and says where it is.

const assert = require('node:assert/strict');
const { createHmac, randomUUID } = require('node:crypto');
const { after, before, test } = require('node:test');

process.env.NODE_ENV = 'test'; // else the core does not check what the app returns
const zapier = require('zapier-platform-core');

const App = require('../index');
const { Receiver, until } = require('./receiver');

const { GATEWAY_URL, SUBSCRIBER_KEY, PUBLISHER_KEY, PRINTSTUDIO_SECRET } = process.env;
const subscriber = { url: GATEWAY_URL, key: SUBSCRIBER_KEY };
const publisher = { url: GATEWAY_URL, key: PUBLISHER_KEY };

const { order_event: orderEvent, event_type_list: eventTypeList } = App.triggers;
const { publish_event: publishEvent } = App.creates;
const run = zapier.createAppTester(App);
const receiver = new Receiver();

before(async () => {
  assert.ok(GATEWAY_URL, 'run `pytest -m slow tests/acceptance/test_zapier.py`: it starts a gateway');
  await receiver.start();
});
after(() => receiver.stop());

/** A Zap that is turned on: its path, what it listens to, and its subscription. */
const turnOn = async (types, path = `/hooks/standard/${randomUUID()}`) => {
  const bundle = { authData: subscriber, inputData: { types }, targetUrl: receiver.url + path };
  const subscribeData = await run(orderEvent.operation.performSubscribe, bundle);
  return { ...bundle, path, subscribeData };
};

const turnOff = (zap) => run(orderEvent.operation.performUnsubscribe, zap);

/** What the Zap makes of a request that came to its URL. */
const perform = (zap, rawRequest, subscribeData = zap.subscribeData) =>
  run(orderEvent.operation.perform, {
    ...zap,
    subscribeData,
    rawRequest,
    cleanedRequest: JSON.parse(rawRequest.content),
  });

const performList = (types) =>
  run(orderEvent.operation.performList, { authData: subscriber, inputData: { types } });

/** A signed callback of the print shop; its order. */
const tell = async (event, order = `ord-${randomUUID()}`) => {
  const body = JSON.stringify({
    id: `ps-${randomUUID()}`,
    event,
    timestamp: '2026-01-15T14:30:00Z',
    data: { orderId: order, total: 49.26, currency: 'EUR', lineItems: [{ name: 'Vase für Zoë' }] },
  });
  const signature = createHmac('sha256', PRINTSTUDIO_SECRET).update(body).digest('hex');
  const answer = await fetch(`${GATEWAY_URL}/hooks/shop`, {
    method: 'POST',
    headers: { 'X-PrintStudio-Signature': `sha256=${signature}` },
    body,
  });
  assert.equal(answer.status, 200, await answer.text());
  return order;
};

const publish = (type, id = randomUUID(), { authData = publisher, text = 'when?' } = {}) =>
  run(publishEvent.operation.perform, {
    authData,
    inputData: { type, id, source: '/zapier', data: { text } },
  });

/** A call of the API that the app itself does not make. */
const api = async (method, path, body) => {
  const answer = await fetch(GATEWAY_URL + path, {
    method,
    headers: { Authorization: `Bearer ${SUBSCRIBER_KEY}`, 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, data: JSON.parse((await answer.text()) || 'null') };
};

test('a key is tried, and the connection is named by it', async () => {
  for (const url of [GATEWAY_URL, ` ${GATEWAY_URL}/ `]) {
    const me = await run(App.authentication.test, { authData: { ...subscriber, url } });
    assert.match(me.name, /^subscriber [a-z2-7]{8}$/);
  }
});

test('a wrong key is refused with the words of the gateway', async () => {
  const authData = { ...subscriber, key: `${SUBSCRIBER_KEY.slice(0, -1)}!` };
  await assert.rejects(run(App.authentication.test, { authData }), (error) => {
    const { message, code, status } = JSON.parse(error.message);
    assert.match(message, /send a valid key/);
    assert.deepEqual([code, status], ['unauthenticated', 401]);
    return true;
  });
});

test('a site that is no gateway is not taken for one, and gets no key by a redirect', async () => {
  const authData = { ...subscriber, url: `${receiver.url}/site` };
  await assert.rejects(run(App.authentication.test, { authData }), /No gateway answers at this URL/);
  receiver.statuses.set('/away/v1/me', 302);
  await assert.rejects(
    run(App.authentication.test, { authData: { ...subscriber, url: `${receiver.url}/away` } }),
    /redirect/,
  );
  assert.deepEqual(receiver.at('/elsewhere'), []);
});

test('the list of event types has those of the gateway', async () => {
  const listed = await run(eventTypeList.operation.perform, { authData: subscriber });
  const ids = listed.map(({ id }) => id);
  for (const id of ['order.*', 'order.paid', 'gateway.delivery.exhausted']) assert.ok(ids.includes(id));
  assert.equal(new Set(ids).size, ids.length);
});

test('an event starts the Zap once, in the shape of the samples', async () => {
  const zap = await turnOn(['order.*', 'order.created']);
  const order = await tell('order.created');
  const [raw] = await receiver.wait(zap.path);
  assert.equal(raw.headers['Content-Type'], 'application/json');
  const events = await perform(zap, raw);
  assert.equal(events.length, 1);
  const [event] = events;
  assert.equal(event.id, raw.headers['Http-Webhook-Id']);
  assert.equal(event.data__order, order);
  assert.deepEqual(
    [event.data__total__value, event.data__total__minor, event.data__total__currency],
    ['49.26', 4926, 'EUR'],
  );
  assert.equal(event.data__lines__0__name, 'Vase für Zoë');
  assert.deepEqual(Object.values(event).filter((value) => Object(value) === value), []);

  const listed = await performList(['order.created', 'order.*']);
  assert.deepEqual(listed[0], event);
  assert.deepEqual(Object.keys(listed[0]), Object.keys(event));
  await turnOff(zap);
});

test('samples are the newest first, three at most; examples where nothing happened yet', async () => {
  const orders = [];
  for (let number = 0; number < 4; number += 1) orders.push(await tell('order.shipped'));
  const listed = await performList(['order.shipped']);
  assert.deepEqual(listed.map((event) => event.data__order), orders.slice(1).reverse());
  const [example] = await performList(['order.disputed']);
  assert.equal(example.type, 'order.disputed');
  const mixed = await performList(['order.disputed', 'order.shipped']);
  assert.deepEqual(mixed.map(({ id }) => id), listed.map(({ id }) => id));
});

test('what is not signed with the secret of the subscription is refused', async () => {
  const zap = await turnOn(['order.created']);
  const other = await turnOn(['order.refunded']);
  await tell('order.created');
  const [raw] = await receiver.wait(zap.path);
  const { 'Http-Webhook-Signature': signature, ...unsigned } = raw.headers;
  const forged = [
    { ...raw, content: raw.content.replace('49.26', '0.01') },
    { ...raw, headers: unsigned },
    { ...raw, headers: { ...raw.headers, 'Http-Webhook-Id': 'evt_0' } },
    { ...raw, headers: { ...raw.headers, 'Http-Webhook-Signature': 'v1,' } },
    { ...raw, headers: { ...raw.headers, 'Http-Webhook-Signature': `v2,${signature.slice(3)}` } },
  ];
  for (const one of forged) {
    assert.notDeepEqual(one, raw);
    await assert.rejects(perform(zap, one), /is not signed/);
  }
  await assert.rejects(perform(zap, raw, other.subscribeData), /is not signed/);
  await assert.rejects(perform(zap, raw, {}), /is not signed/);
  const headers = { ...raw.headers, 'Http-Webhook-Signature': `v1,AAAA ${signature}` };
  assert.equal((await perform(zap, { ...raw, headers })).length, 1);
  await Promise.all([zap, other].map(turnOff));
});

test('a rotated secret: the old one holds for a while, then the Zap is turned on again', async () => {
  const zap = await turnOn(['order.created']);
  const rotate = (overlap) =>
    api('POST', `/v1/subscriptions/${zap.subscribeData.id}/rotate`, { overlap });
  assert.equal((await rotate('24h')).status, 200);
  await tell('order.created');
  const [first] = await receiver.wait(zap.path);
  assert.equal((await perform(zap, first)).length, 1);

  await rotate('0s');
  await tell('order.created');
  const [, second] = await receiver.wait(zap.path, 2);
  await assert.rejects(perform(zap, second), /turn the Zap off and on again/);
  const again = await turnOn(['order.created'], zap.path);
  assert.equal(again.subscribeData.id, zap.subscribeData.id);
  assert.equal((await perform(again, second)).length, 1);
  await turnOff(again);
});

test('a Zap that is turned off gets nothing more, and may be turned off twice', async () => {
  const type = `desk.${randomUUID()}`;
  const zap = await turnOn([type]);
  assert.equal((await publish(type)).subscriptions.length, 1);
  await receiver.wait(zap.path);
  await turnOff(zap);
  await turnOff(zap);
  assert.equal((await api('GET', `/v1/subscriptions/${zap.subscribeData.id}`)).status, 404);
  assert.deepEqual((await publish(type)).subscriptions, []);
  assert.equal(receiver.at(zap.path).length, 1);
});

test('a hook that answers 410 gets nothing more, until the Zap is turned on again', async () => {
  const type = `desk.${randomUUID()}`;
  const zap = await turnOn([type]);
  receiver.statuses.set(zap.path, 410);
  await publish(type);
  const state = async () => (await api('GET', `/v1/subscriptions/${zap.subscribeData.id}`)).data.state;
  await until(async () => (await state()) === 'gone', 'the end of the subscription');
  assert.deepEqual((await publish(type)).subscriptions, []);
  assert.equal(receiver.at(zap.path).length, 1);

  receiver.statuses.delete(zap.path);
  assert.deepEqual((await turnOn([type], zap.path)).subscribeData, zap.subscribeData);
  assert.equal(await state(), 'active');
  await publish(type);
  await receiver.wait(zap.path, 2);
  await turnOff(zap);
});

test('an event that a Zap publishes starts another Zap, and a repeat does not', async () => {
  const [type, id] = [`desk.${randomUUID()}`, randomUUID()];
  const zap = await turnOn([type]);
  const made = await publish(type, id);
  assert.equal(made.duplicate, false);
  assert.equal(made.subscriptions.length, 1);
  assert.equal((await publish(type, id)).id, made.id);
  const other = await publish(type, id, { text: 'where?' });
  assert.deepEqual([other.id, other.duplicate], [made.id, true]);
  const [raw] = await receiver.wait(zap.path);
  const [event] = await perform(zap, raw);
  assert.deepEqual([event.id, event.source, event.data__text], [id, '/zapier', 'when?']);
  assert.deepEqual(await performList([type]), [event]);
  assert.equal(receiver.at(zap.path).length, 1);
  await turnOff(zap);
});

test('what the gateway refuses is said in its words', async () => {
  await assert.rejects(turnOn(['no type']), /The gateway refused this: types/);
  await assert.rejects(publish('desk.asked', '1', { authData: subscriber }), /role subscriber may not do this/);
  await assert.rejects(publish('order.paid'), /The gateway refused this: /);
});
