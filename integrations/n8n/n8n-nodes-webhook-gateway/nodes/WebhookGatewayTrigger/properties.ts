import type { INodeProperties } from 'n8n-workflow';

/** What is set up in the editor. */
export const properties: INodeProperties[] = [
	{
		displayName: 'Event Type Names or IDs',
		name: 'types',
		type: 'multiOptions',
		typeOptions: { loadOptionsMethod: 'getEventTypes' },
		default: [],
		description:
			'Which events start the workflow; without any, all events of orders. Choose from the list, or specify IDs using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
	},
	{
		displayName: 'Options',
		name: 'options',
		type: 'collection',
		placeholder: 'Add option',
		default: {},
		options: [
			{
				displayName: 'Drop Repeats',
				name: 'dropRepeats',
				type: 'boolean',
				default: true,
				description:
					'Whether a delivery that was here before starts nothing, which holds for a replay too; the last 500 are remembered',
			},
			{
				displayName: 'Filters',
				name: 'filters',
				type: 'json',
				default: '',
				placeholder: 'e.g. [{"prefix": {"subject": "B-"}}]',
				description: 'What the gateway looks for in each event, as a list; all of it must hold',
			},
			{
				displayName: 'Flatten Data',
				name: 'flat',
				type: 'boolean',
				default: false,
				description:
					'Whether nested data comes as flat fields, such as data__total__value',
			},
			{
				displayName: 'Further Secrets',
				name: 'furtherSecrets',
				type: 'string',
				typeOptions: { password: true },
				default: '',
				description:
					'Secrets that are good as well, after the gateway rotated its own; the node has the one of its subscription by itself',
			},
			{
				displayName: 'Shops',
				name: 'shops',
				type: 'string',
				default: '',
				description: 'Only events of these shops, separated by commas',
			},
			{
				displayName: 'Sources',
				name: 'sources',
				type: 'string',
				default: '',
				description: 'Only events of these sources, separated by commas',
			},
		],
	},
];
