import { NodeOperationError } from 'n8n-workflow';
import type { IDataObject, IHookFunctions } from 'n8n-workflow';

import { ask, refusal } from './gateway';

const SUBSCRIPTIONS = '/v1/subscriptions';

/** What the node keeps in its static data: of the gateway the id, the URL and the secret. */
export interface State {
	id?: string;
	url?: string;
	secret?: string;
	seen?: string[];
}

/** Whether the subscription that this node made is there and sends to this very URL. */
export async function isSubscribed(context: IHookFunctions): Promise<boolean> {
	const state: State = context.getWorkflowStaticData('node');
	if (!state.id || !state.secret || state.url !== urlOf(context)) return false;
	const answer = await ask(context, 'GET', pathOf(state.id));
	if (answer.statusCode === 404) return false;
	if (answer.statusCode !== 200) throw refusal(context, answer);
	return answer.body.url === state.url && answer.body.state !== 'gone';
}

/** Subscribe; the gateway gives the id and secret of the one that is there, if there is one. */
export async function subscribe(context: IHookFunctions): Promise<void> {
	const answer = await ask(context, 'POST', SUBSCRIPTIONS, wanted(context));
	if (answer.statusCode !== 200 && answer.statusCode !== 201) throw refusal(context, answer);
	const state: State = context.getWorkflowStaticData('node');
	state.id = String(answer.body.id);
	state.url = urlOf(context);
	state.secret = String(answer.body.secret);
}

/** End the subscription that this node made; nothing happens when it made none. */
export async function unsubscribe(context: IHookFunctions): Promise<void> {
	const state: State = context.getWorkflowStaticData('node');
	if (state.id === undefined) return;
	const answer = await ask(context, 'DELETE', pathOf(state.id));
	if (answer.statusCode !== 204) throw refusal(context, answer);
	delete state.id;
	delete state.url;
	delete state.secret;
}

/** The keys of the subscription, as the node is set up. */
function wanted(context: IHookFunctions): IDataObject {
	const types = context.getNodeParameter('types', []) as string[];
	const options = context.getNodeParameter('options', {}) as IDataObject;
	return {
		url: urlOf(context),
		profile: 'n8n', // also where the path of n8n's webhooks was changed, and tells nothing
		description: `n8n: ${context.getWorkflow().name ?? 'a workflow'}`.slice(0, 500),
		flat: options.flat === true,
		...(types.length > 0 && { types }),
		...listed(options, 'sources'),
		...listed(options, 'shops'),
		...filters(context, options),
	};
}

function listed(options: IDataObject, key: string): IDataObject {
	const found = String(options[key] ?? '')
		.split(',')
		.map((one) => one.trim())
		.filter((one) => one.length > 0);
	return found.length > 0 ? { [key]: found } : {};
}

function filters(context: IHookFunctions, options: IDataObject): IDataObject {
	const given = options.filters ?? '';
	if (typeof given !== 'string') return { filters: given };
	if (given.trim() === '') return {};
	try {
		return { filters: JSON.parse(given) as IDataObject[] };
	} catch {
		throw new NodeOperationError(context.getNode(), 'Filters is no JSON', {
			description: 'Write a list, such as [{"exact": {"type": "order.paid"}}]',
		});
	}
}

function urlOf(context: IHookFunctions): string {
	return context.getNodeWebhookUrl('default') as string;
}

function pathOf(id: string): string {
	return `${SUBSCRIPTIONS}/${encodeURIComponent(id)}`;
}
