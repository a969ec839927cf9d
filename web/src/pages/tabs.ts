// Apart from the pages, which are loaded when they are shown: the router reads addresses before.

/** The tabs of a machine, as the address names them. */
export const MACHINE_TABS = ['overview', 'console', 'configuration', 'snapshots', 'metrics', 'events', 'diagnostics', 'yaml'] as const;
/** One of {@link MACHINE_TABS}. */
export type MachineTab = (typeof MACHINE_TABS)[number];

/** Ways to look at a guest, as the address names them. */
export const VIEWS = ['vnc', 'serial', 'log', 'split'] as const;
/** One of {@link VIEWS}. */
export type View = (typeof VIEWS)[number];

/** Tabs of any object, as the address names them. */
export const RESOURCE_TABS = ['details', 'yaml', 'events'] as const;
/** One of {@link RESOURCE_TABS}. */
export type ResourceTab = (typeof RESOURCE_TABS)[number];
