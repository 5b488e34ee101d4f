#!/usr/bin/env python3
"""Behaves as the coding agent by whose name it is called, as far as that agent's documentation tells how it calls its hooks:
three tool calls, of which it remembers what nobody else knows. Then it writes down its memory, and ends."""
import json
import os
import re
import subprocess
import sys
import time

NAME = os.path.basename(sys.argv[0])
HOME = os.environ['HOME']
CWD = os.getcwd()
memory = []


def own_sandbox_is_off():
    args = sys.argv[1:]
    if NAME == 'claude':
        return json.loads(args[args.index('--settings') + 1])['sandbox']['enabled'] is False
    if NAME == 'codex':
        return 'sandbox_mode="danger-full-access"' in args
    if NAME in ('gemini', 'qwen'):
        return os.environ[f'{NAME.upper()}_SANDBOX'] == 'false'
    return True  # it has none


def run_hook(command, call):
    done = subprocess.run(['sh', '-c', command], input=json.dumps(call), text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', ''), done


def from_settings(path, event, call):
    with open(f'{HOME}/{path}') as file:
        groups = json.loads(re.sub(r'//.*', '', file.read()))['hooks'][event]
    for hook in [hook for group in groups if group.get('matcher', '*') == '*' for hook in group['hooks']]:
        assert hook['type'] == 'command'
        run_hook(hook['command'], {'session_id': 's', 'transcript_path': '/t', 'cwd': CWD, 'hook_event_name': event, **call})


def claude(tool, args, failed):
    name = {'shell': 'Bash', 'write': 'Write'}[tool]
    if failed:
        from_settings('.claude/settings.json', 'PostToolUseFailure', {'tool_name': name, 'tool_input': args, 'error': 'Exit code 3'})
    else:
        from_settings('.claude/settings.json', 'PostToolUse', {'tool_name': name, 'tool_input': args, 'tool_response': {'stdout': ''}})


def codex(tool, args, failed):
    if tool == 'write':
        args = {'command': f'*** Begin Patch\n*** Add File: {args["file_path"]}\n+x\n*** End Patch'}
    call = {'tool_name': {'shell': 'Bash', 'write': 'apply_patch'}[tool], 'tool_input': args}
    from_settings('.codex/hooks.json', 'PostToolUse', {**call, 'tool_response': {'exit_code': 3 if failed else 0}})


def gemini(tool, args, failed):
    call = {'tool_name': {'shell': 'run_shell_command', 'write': 'write_file'}[tool], 'tool_input': args}
    content = 'Exit Code: 3' if failed else 'ok'
    from_settings('.gemini/settings.json', 'AfterTool', {**call, 'tool_response': {'llmContent': content, 'returnDisplay': content}})


def qwen(tool, args, failed):
    call = {'tool_name': {'shell': 'run_shell_command', 'write': 'write_file'}[tool], 'tool_input': args}
    if failed:
        from_settings('.qwen/settings.json', 'PostToolUseFailure', {**call, 'error': 'Command exited with code: 3'})
    else:
        from_settings('.qwen/settings.json', 'PostToolUse', {**call, 'tool_response': {'llmContent': 'ok'}})


def copilot(tool, args, failed):
    for name in os.listdir(f'{HOME}/.copilot/hooks'):
        with open(f'{HOME}/.copilot/hooks/{name}') as file:
            config = json.load(file)
        assert config['version'] == 1
        for hook in config['hooks']['postToolUse']:
            result = {'resultType': 'failure' if failed else 'success', 'textResultForLlm': 'exited with exit code 3' if failed else ''}
            arguments = json.dumps(args if tool == 'shell' else {'path': args['file_path']})
            run_hook(hook['bash'], {'timestamp': 1, 'cwd': CWD, 'toolName': {'shell': 'bash', 'write': 'create'}[tool],
                                    'toolArgs': arguments, 'toolResult': result})


PLUGINS = """
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
const folder = `${process.env.HOME}/.config/opencode/plugins`;
const all = [];
for (const name of readdirSync(folder)) {
  writeFileSync('/tmp/plugin.mjs', readFileSync(`${folder}/${name}`)); // Bun takes any .js for a module
  for (const plugin of Object.values(await import('/tmp/plugin.mjs'))) all.push(await plugin({ directory: process.cwd() }));
}
console.log('');
for await (const line of createInterface({ input: process.stdin })) {
  const [call, metadata] = JSON.parse(line);
  for (const hooks of all) await hooks['tool.execute.after'](call, { title: '', output: '', metadata });
  console.log('');
}"""
loaded = None


def opencode(tool, args, failed):
    given = args if tool == 'shell' else {'filePath': args['file_path']}
    call = {'tool': {'shell': 'bash', 'write': 'write'}[tool], 'sessionID': 's', 'callID': 'c', 'args': given}
    loaded.stdin.write(json.dumps([call, {'exit': 3 if failed else 0}]) + '\n')
    loaded.stdin.flush()
    assert loaded.stdout.readline() == '\n'


def without_hooks(tool, args, failed):
    time.sleep(2.5)  # longer than files have to rest and a checkpoint takes, on a busy machine too


TELL = {'claude': claude, 'codex': codex, 'gemini': gemini, 'qwen': qwen, 'copilot': copilot, 'opencode': opencode}


def call_tool(tool, args):
    failed = False
    if tool == 'shell':
        failed = subprocess.run(['sh', '-c', args['command']]).returncode != 0
    else:
        with open(args['file_path'], 'w') as file:
            file.write('x\n')
    memory.append(os.urandom(4).hex())
    TELL.get(NAME, without_hooks)(tool, args, failed)


assert own_sandbox_is_off(), sys.argv
if NAME == 'opencode':  # its plugins live in itself
    loaded = subprocess.Popen(['node', '--input-type=module', '-e', PLUGINS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert loaded.stdout.readline() == '\n'
call_tool('shell', {'command': 'echo one > one.txt', 'description': 'The first step'})
call_tool('write', {'file_path': 'two.txt', 'content': 'x\n'})
call_tool('shell', {'command': 'echo three > three.txt; exit 3'})
with open('/tmp/memory', 'w') as file:
    file.write('\n'.join(memory))
print('done', memory[0])
sys.exit(7)
