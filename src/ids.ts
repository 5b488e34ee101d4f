/** Every id that the manifest and the code share. A test compares both ways. */

export const COMMANDS = {
  // a sandbox
  createSandbox: 'teleportEnv.createSandbox',
  startSandbox: 'teleportEnv.startSandbox',
  stopSandbox: 'teleportEnv.stopSandbox',
  removeSandbox: 'teleportEnv.removeSandbox',
  selectSandbox: 'teleportEnv.selectSandbox',
  openTerminal: 'teleportEnv.openTerminal',
  runAgent: 'teleportEnv.runAgent',
  useForAgents: 'teleportEnv.useForAgents',
  stopUseForAgents: 'teleportEnv.stopUseForAgents',
  showActions: 'teleportEnv.showActions',
  refresh: 'teleportEnv.refresh',
  // moments
  checkpoint: 'teleportEnv.checkpoint',
  checkpointWithLabel: 'teleportEnv.checkpointWithLabel',
  rollback: 'teleportEnv.rollback',
  undoRollback: 'teleportEnv.undoRollback',
  fork: 'teleportEnv.fork',
  makeCurrent: 'teleportEnv.makeCurrent',
  discardFork: 'teleportEnv.discardFork',
  renameCheckpoint: 'teleportEnv.renameCheckpoint',
  copyCheckpointId: 'teleportEnv.copyCheckpointId',
  deleteCheckpoint: 'teleportEnv.deleteCheckpoint',
  deleteOldCheckpoints: 'teleportEnv.deleteOldCheckpoints',
  // the timeline
  showOlder: 'teleportEnv.showOlder',
  filterTimeline: 'teleportEnv.filterTimeline',
  clearFilter: 'teleportEnv.clearFilter',
  nextEntry: 'teleportEnv.nextEntry',
  previousEntry: 'teleportEnv.previousEntry',
  // files
  showChanges: 'teleportEnv.showChanges',
  showFileChange: 'teleportEnv.showFileChange',
  openFileAt: 'teleportEnv.openFileAt',
  compareWithCurrent: 'teleportEnv.compareWithCurrent',
  selectForCompare: 'teleportEnv.selectForCompare',
  compareWithSelected: 'teleportEnv.compareWithSelected',
  apply: 'teleportEnv.apply',
  exportPatch: 'teleportEnv.exportPatch',
  createGitBranch: 'teleportEnv.createGitBranch',
  fetchCommits: 'teleportEnv.fetchCommits',
  openSandboxFolder: 'teleportEnv.openSandboxFolder',
  addSandboxFolder: 'teleportEnv.addSandboxFolder',
  // the workspace beside the sandbox
  toggleFollow: 'teleportEnv.toggleFollow',
  followConflicts: 'teleportEnv.followConflicts',
  takeSandboxFile: 'teleportEnv.takeSandboxFile',
  takeWorkspaceFile: 'teleportEnv.takeWorkspaceFile',
  takeAllSandboxFiles: 'teleportEnv.takeAllSandboxFiles',
  compareFile: 'teleportEnv.compareFile',
  // ports
  openPort: 'teleportEnv.openPort',
  previewPort: 'teleportEnv.previewPort',
  forwardPort: 'teleportEnv.forwardPort',
  // runs
  stepThrough: 'teleportEnv.stepThrough',
  runToHere: 'teleportEnv.runToHere',
  tryInFork: 'teleportEnv.tryInFork',
  recordRun: 'teleportEnv.recordRun',
  openTranscript: 'teleportEnv.openTranscript',
  // models
  modelGateway: 'teleportEnv.modelGateway',
  startGateway: 'teleportEnv.startGateway',
  stopGateway: 'teleportEnv.stopGateway',
  setModelKey: 'teleportEnv.setModelKey',
  openConversation: 'teleportEnv.openConversation',
  // set-up
  setUp: 'teleportEnv.setUp',
  tryIt: 'teleportEnv.tryIt',
  // the Linux machine
  setUpMachine: 'teleportEnv.setUpMachine',
  startMachine: 'teleportEnv.startMachine',
  stopMachine: 'teleportEnv.stopMachine',
  suspendMachine: 'teleportEnv.suspendMachine',
  deleteMachine: 'teleportEnv.deleteMachine',
  openMachineShell: 'teleportEnv.openMachineShell',
  doctor: 'teleportEnv.doctor',
  copyDiagnostics: 'teleportEnv.copyDiagnostics',
  reconnect: 'teleportEnv.reconnect',
  showLog: 'teleportEnv.showLog',
  openWalkthrough: 'teleportEnv.openWalkthrough',
} as const;
export type CommandId = (typeof COMMANDS)[keyof typeof COMMANDS];

export const CONTAINER = 'teleportEnv';

export const VIEWS = {
  sandboxes: 'teleportEnv.sandboxes',
  timeline: 'teleportEnv.timeline',
  machine: 'teleportEnv.linuxMachine',
} as const;

export const CONTEXT_KEYS = {
  /** A `Situation`'s name: what the views have to say. */
  situation: 'teleportEnv.situation',
  /** State of the sandbox that the timeline shows, or `none`. */
  sandbox: 'teleportEnv.sandbox',
  canUndo: 'teleportEnv.canUndo',
  filtered: 'teleportEnv.filtered',
  comparing: 'teleportEnv.comparing',
  /** The helper told what it needs and all is there. */
  helperReady: 'teleportEnv.helperReady',
  /** Sandboxes run in a virtual machine of their own. */
  machine: 'teleportEnv.machine',
} as const;
export type ContextKey = (typeof CONTEXT_KEYS)[keyof typeof CONTEXT_KEYS];

export const SETTINGS = {
  helperPath: 'teleportEnv.helper.path',
  helperStart: 'teleportEnv.helper.start',
  network: 'teleportEnv.sandbox.network',
  base: 'teleportEnv.sandbox.base',
  root: 'teleportEnv.sandbox.root',
  environment: 'teleportEnv.sandbox.environment',
  onCreate: 'teleportEnv.onCreate',
  exclude: 'teleportEnv.copyIn.exclude',
  askAbove: 'teleportEnv.copyIn.askAboveMegabytes',
  checkpointCommands: 'teleportEnv.terminal.checkpointAfterCommand',
  survivesReload: 'teleportEnv.terminal.survivesReload',
  decorations: 'teleportEnv.decorations.enabled',
  gatewayBaseUrls: 'teleportEnv.gateway.baseUrls',
  gatewayPrices: 'teleportEnv.gateway.prices',
  gatewayBudgetTokens: 'teleportEnv.gateway.budgetTokens',
  gatewayBudgetRequests: 'teleportEnv.gateway.budgetRequests',
  gatewayTranscripts: 'teleportEnv.gateway.keepConversations',
  place: 'teleportEnv.machine.use',
  machineName: 'teleportEnv.machine.name',
  machineImage: 'teleportEnv.machine.image',
  machineCpus: 'teleportEnv.machine.cpus',
  machineMemory: 'teleportEnv.machine.memory',
  machineDisk: 'teleportEnv.machine.disk',
  multipassPath: 'teleportEnv.machine.multipassPath',
  machineLeaveOut: 'teleportEnv.machine.leaveOut',
  trace: 'teleportEnv.trace.server',
} as const;
export type SettingId = (typeof SETTINGS)[keyof typeof SETTINGS];

/** Of tools for the editor's own agents: `teleport_env_…`. */
export const AGENT_TOOLS = ['run', 'checkpoint', 'rollback', 'log', 'diff', 'apply'] as const;
export type AgentTool = (typeof AGENT_TOOLS)[number];

export const TASK_TYPE = 'teleport-env';
export const TERMINAL_PROFILE = 'teleportEnv.shell';
export const WALKTHROUGH = 'teleportEnv.start';
/** Files as of a checkpoint or in a branch. */
export const SCHEME = 'teleport-env';
/** Rows of the timeline, for their colour only. */
export const ENTRY_SCHEME = 'teleport-env-entry';
