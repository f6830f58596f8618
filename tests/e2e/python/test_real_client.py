#!/usr/bin/env python3
"""The server as a Python user meets it: the real binary, grpcio, no generated stubs.

Messages are built from what server reflection tells, health is asked through
grpcio-health-checking, errors are unpacked by grpcio-status.

    python test_real_client.py --server build/release/bin/parrot-server --model DIR
"""

import argparse
import asyncio
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import unittest
import urllib.error
import urllib.request

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)
from grpc_status import rpc_status

SERVICE = 'parrot.v1.ParrotService'
IMAGES = pathlib.Path(__file__).parents[2] / 'golden' / 'images' / 'files'
TIMEOUT = 120  # seconds; for everything that may hang
ARGS = None


class ServerProcess:
    """parrot-server on free ports; its log is read as JSON lines."""

    def __init__(self, *options):
        self.events = []
        self._arrived = queue.Queue()
        environment = {k: v for k, v in os.environ.items() if not k.startswith('PARROT_')}
        self.process = subprocess.Popen(
            [ARGS.server, '--model', ARGS.model, '--http-port', '0', '--grpc-port', '0',
             '--admin-address', '127.0.0.1:0', '--kv-cache-memory-bytes', '64MiB',
             '--log-format', 'json', '--log-requests', *options],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        listening = self.wait_for('listening')
        self.grpc_address = listening['grpc']
        self.http_address = listening['http']
        self.wait_for('ready')

    def _read_log(self):
        for line in self.process.stderr:
            event = json.loads(line)
            self.events.append(event)
            self._arrived.put(event)

    def wait_for(self, name):
        while True:
            event = self._arrived.get(timeout=TIMEOUT)
            if event['event'] == name:
                return event

    def get(self, path):
        try:
            with urllib.request.urlopen(f'http://{self.http_address}{path}', timeout=TIMEOUT) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, signal_number=signal.SIGINT):
        self.process.send_signal(signal_number)
        code = self.process.wait(timeout=TIMEOUT)
        self._reader.join(timeout=TIMEOUT)
        self.process.stderr.close()
        return code


class Api:
    """Message classes and methods of the service, from reflection alone."""

    def __init__(self, channel):
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.service = self.pool.FindServiceByName(SERVICE)

    def message(self, name):
        return message_factory.GetMessageClass(
            self.pool.FindMessageTypeByName(f'parrot.v1.{name}'))

    def method(self, channel, name):
        method = self.service.FindMethodByName(name)
        make = channel.unary_stream if method.server_streaming else channel.unary_unary
        response = message_factory.GetMessageClass(method.output_type)
        return make(f'/{SERVICE}/{name}', request_serializer=lambda m: m.SerializeToString(),
                    response_deserializer=response.FromString)

    def generate_request(self, text, image=None, max_tokens=8):
        request = self.message('GenerateRequest')()
        message = request.messages.add(role=2)  # ROLE_USER
        if image is not None:
            message.parts.add().image.data = image
        message.parts.add().text = text.encode()
        request.stop.max_tokens = max_tokens
        return request


def details_of(error):
    """{short name: message} of the google.rpc details of an error."""
    found = {}
    for detail in rpc_status.from_call(error).details:
        for cls in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest,
                    error_details_pb2.RequestInfo, error_details_pb2.ResourceInfo,
                    error_details_pb2.RetryInfo):
            if detail.Is(cls.DESCRIPTOR):
                message = cls()
                detail.Unpack(message)
                found[cls.__name__] = message
    return found


class RealClientTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = ServerProcess()
        cls.channel = grpc.insecure_channel(cls.server.grpc_address)
        cls.api = Api(cls.channel)
        cls.image = (IMAGES / 'rgb_47x31.png').read_bytes()

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        code = cls.server.stop()
        assert code == 0, f'exit code {code}'

    def call(self, method, request, **kwargs):
        kwargs.setdefault('timeout', TIMEOUT)
        return self.api.method(self.channel, method)(request, **kwargs)

    def assert_refused(self, code, reason, method, request, **kwargs):
        with self.assertRaises(grpc.RpcError) as raised:
            result = self.call(method, request, **kwargs)
            list(result) if hasattr(result, '__iter__') else result
        error = raised.exception
        self.assertEqual(error.code(), code, error.details())
        details = details_of(error)
        self.assertEqual(details['ErrorInfo'].reason, reason)
        self.assertEqual(details['ErrorInfo'].domain, 'parrot')
        return details

    def test_reflection_lists_the_services_and_every_method(self):
        self.assertEqual(set(self.api.database.get_services()),
                         {SERVICE, 'grpc.health.v1.Health',
                          'grpc.reflection.v1alpha.ServerReflection'})
        self.assertEqual({m.name for m in self.api.service.methods},
                         {'Generate', 'GenerateUnary', 'Route', 'Tokenize', 'CountTokens',
                          'GetModelInfo', 'PutImage', 'HasImage'})

    def test_health_is_serving(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ('', SERVICE, 'readiness', 'liveness'):
            response = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
            self.assertEqual(response.status, health_pb2.HealthCheckResponse.SERVING, service)
        with self.assertRaises(grpc.RpcError) as raised:
            health.Check(health_pb2.HealthCheckRequest(service='nobody'), timeout=TIMEOUT)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)
        self.assertEqual(self.server.get('/health'), (200, '{"status":"ready"}\n'))

    def test_streams_an_answer_about_a_picture(self):
        call = self.call('Generate', self.api.generate_request('What is it?', self.image),
                         metadata=[('x-request-id', 'python-1')])
        events = list(call)
        self.assertEqual(events[0].WhichOneof('event'), 'accepted')
        self.assertEqual(events[0].accepted.request_id, 'python-1')
        self.assertEqual(events[-1].WhichOneof('event'), 'finish')
        deltas = [e.delta for e in events[1:-1]]
        self.assertTrue(deltas)
        finish = events[-1].finish
        self.assertEqual(sum(len(d.token_ids) for d in deltas), finish.usage.completion_tokens)
        self.assertGreater(finish.usage.image_tokens, 0)
        self.assertEqual(len(finish.routing), 1)
        self.assertAlmostEqual(sum(finish.routing[0].expert_weights), 1.0, places=4)
        # Unless an earlier test has shown the picture.
        if finish.routing[0].cache_level == 1:  # CACHE_LEVEL_NONE
            self.assertGreater(finish.timings.clip, 0)
        self.assertIn(('x-request-id', 'python-1'), list(call.initial_metadata()))
        self.assertIn(('x-request-id', 'python-1'), list(call.trailing_metadata()))

    def test_unary_route_count_and_model_info_agree_with_the_stream(self):
        request = self.api.generate_request('What is it?', self.image)
        events = list(self.call('Generate', request))
        finish = events[-1].finish
        unary = self.call('GenerateUnary', request)
        self.assertEqual(list(unary.outputs[0].token_ids),
                         [t for e in events for t in e.delta.token_ids])
        self.assertEqual(unary.outputs[0].text, ''.join(e.delta.text for e in events))
        route = self.api.message('RouteRequest')()
        route.messages.extend(request.messages)
        routed = self.call('Route', route)
        for ours, theirs in zip(routed.routing[0].expert_weights,
                                finish.routing[0].expert_weights, strict=True):
            self.assertAlmostEqual(ours, theirs, delta=2e-4)
        count = self.api.message('CountTokensRequest')()
        count.messages.extend(request.messages)
        self.assertEqual(self.call('CountTokens', count).usage.prompt_tokens,
                         finish.usage.prompt_tokens)
        info = self.call('GetModelInfo', self.api.message('GetModelInfoRequest')())
        self.assertEqual(info.num_experts, len(finish.routing[0].expert_weights))
        self.assertEqual(info.image_tokens, finish.usage.image_tokens)
        self.assertIn('json_schema', info.unsupported_options)

    def test_tokenizes_without_control_tokens(self):
        request = self.api.message('TokenizeRequest')(text='<|im_start|>مرحبا'.encode())
        ids = self.call('Tokenize', request).token_ids
        info = self.call('GetModelInfo', self.api.message('GetModelInfoRequest')())
        self.assertTrue(all(0 <= i < info.vocab_size - 3 for i in ids))

    def test_errors_name_field_value_and_limit(self):
        request = self.api.generate_request('hello')
        request.sampling.temperature = 3
        details = self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT, 'OUT_OF_RANGE', 'Generate',
                                      request)
        self.assertEqual(details['BadRequest'].field_violations[0].field, 'sampling.temperature')
        self.assertEqual(dict(details['ErrorInfo'].metadata),
                         {'field': 'sampling.temperature', 'value': '3', 'limit': '[0, 2]'})
        self.assertTrue(details['RequestInfo'].request_id)
        request = self.api.generate_request('hello')
        request.json_schema = '{}'
        self.assert_refused(grpc.StatusCode.UNIMPLEMENTED, 'UNSUPPORTED_OPTION', 'GenerateUnary',
                            request)
        request = self.api.generate_request('hello')
        request.model = 'nope'
        details = self.assert_refused(grpc.StatusCode.NOT_FOUND, 'MODEL_NOT_FOUND', 'Generate',
                                      request)
        self.assertEqual(details['ResourceInfo'].resource_name, 'nope')
        request = self.api.generate_request('hello', b'GIF89a not an image')
        details = self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                                      details_of_reason(self, request), 'Generate', request)
        self.assertEqual(details['BadRequest'].field_violations[0].field,
                         'messages[0].parts[0].image')

    def test_a_cancelled_stream_leaves_nothing_behind(self):
        call = self.call('Generate', self.api.generate_request('Tell me', max_tokens=1500))
        next(call)
        call.cancel()
        with self.assertRaises(grpc.RpcError) as raised:
            list(call)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.CANCELLED)
        names = ('parrot_requests_running', 'parrot_frontend_requests',
                 'parrot_kv_cache_usage_ratio')
        pause = threading.Event()
        for _ in range(TIMEOUT * 10):
            lines = [line.rsplit(' ', 1) for line in self.server.get('/metrics')[1].splitlines()]
            left = {line[0]: float(line[1]) for line in lines if line[0] in names}
            if not any(left.values()):
                break
            pause.wait(0.1)
        self.assertEqual(left, dict.fromkeys(names, 0.0))

    def test_several_answers_with_logprobs_end_at_a_stop_string(self):
        request = self.api.generate_request('Tell me', max_tokens=24)
        request.sampling.temperature = 1
        request.sampling.seed = 7
        request.n = 3
        request.output.logprobs = 2
        whole = self.call('GenerateUnary', request).outputs
        self.assertEqual([o.output_index for o in whole], [0, 1, 2])
        self.assertEqual(len({o.text for o in whole}), 3)
        for output in whole:
            self.assertEqual([entry.chosen.token_id for entry in output.logprobs],
                             list(output.token_ids))
            self.assertTrue(all(len(entry.top) == 2 for entry in output.logprobs))
        stop = whole[1].text[5:8]
        request.stop.stop.append(stop)
        stopped = self.call('GenerateUnary', request).outputs
        for before, after in zip(whole, stopped, strict=True):
            self.assertEqual(after.text, before.text.split(stop)[0])
        self.assertEqual(stopped[1].finish.stop_text, stop)
        request.ClearField('n')
        request.sampling.seed = 8
        self.assertEqual(self.call('GenerateUnary', request).outputs[0].text, stopped[1].text)

    def test_a_deadline_is_kept(self):
        # More than any machine answers in that time.
        request = self.api.generate_request('Tell me', max_tokens=1900)
        request.stop.ignore_eos = True
        request.sampling.temperature = 1
        request.n = 8
        events = list(self.call('Generate', request, timeout=0.5))
        self.assertEqual(events[-1].finish.finish_reason, 4)  # FINISH_REASON_DEADLINE
        self.assertGreater(events[-1].finish.usage.completion_tokens, 0)

    def test_gzip_is_refused(self):
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.call('Generate', self.api.generate_request('hello ' * 1000),
                           compression=grpc.Compression.Gzip))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_eight_asyncio_clients_at_once_get_what_one_gets(self):
        requests = [self.api.generate_request(f'question {i}', self.image if i % 2 else None)
                    for i in range(8)]
        alone = [[t for e in self.call('Generate', r) for t in e.delta.token_ids]
                 for r in requests]

        async def one(channel, request):
            call = self.api.method(channel, 'Generate')(request, timeout=TIMEOUT)
            return [t async for e in call for t in e.delta.token_ids]

        async def together():
            async with grpc.aio.insecure_channel(self.server.grpc_address) as channel:
                return await asyncio.gather(*(one(channel, r) for r in requests))

        self.assertEqual(asyncio.run(together()), alone)

    def test_logs_hold_ids_and_counts_but_no_text(self):
        self.call('GenerateUnary', self.api.generate_request('confidential question'),
                  metadata=[('x-request-id', 'python-log')])
        event = self.server.wait_for('request_finished')
        while event['request_id'] != 'python-log':
            event = self.server.wait_for('request_finished')
        self.assertEqual(event['code'], 'OK')
        self.assertGreater(event['prompt_tokens'], 0)
        self.assertNotIn('confidential', json.dumps(self.server.events))


def details_of_reason(test, request):
    """The reason that the server gives for this request, whatever it is."""
    try:
        list(test.call('Generate', request))
    except grpc.RpcError as error:
        return details_of(error)['ErrorInfo'].reason
    return None


class ShutdownTest(unittest.TestCase):

    def test_sigterm_loses_no_running_stream_and_exits_with_zero(self):
        server = ServerProcess('--lame-duck', '500ms', '--shutdown-timeout', '60s')
        with grpc.insecure_channel(server.grpc_address) as channel:
            api = Api(channel)
            calls = [api.method(channel, 'Generate')(
                api.generate_request(f'question {i}', max_tokens=48), timeout=TIMEOUT)
                for i in range(6)]
            firsts = [next(call) for call in calls]
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            self.assertEqual(server.get('/health')[0], 503)
            for first, call in zip(firsts, calls, strict=True):
                events = [first, *call]
                self.assertEqual(events[-1].WhichOneof('event'), 'finish')
                self.assertEqual(call.code(), grpc.StatusCode.OK)
        self.assertEqual(server.process.wait(timeout=TIMEOUT), 0)
        server.process.stderr.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--server', required=True, help='the parrot-server binary')
    parser.add_argument('--model', required=True, help='a checkpoint folder')
    global ARGS
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == '__main__':
    main()
