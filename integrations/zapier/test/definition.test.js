'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { createAppHandler } = require('zapier-platform-core');

const App = require('../index');

test('the definition is one that Zapier takes', async () => {
  const { results } = await createAppHandler(App)({ command: 'validate' });
  assert.deepEqual(results, []);
});

test('the sample has every field that the app names', () => {
  const { sample, outputFields } = App.triggers.order_event.operation;
  assert.deepEqual(outputFields.map(({ key }) => key).filter((key) => !(key in sample)), []);
});
