// Releases samples by a privatizer's graph, in Swift with the package onnxruntime-swift-package-manager (1.27).
//
// `try Privatizer(graph: path, key: key).release(samples)` takes the device's 32 secret bytes and samples as the graph
// takes them (uint8; of faces 64 x 64 x 3 each, already aligned), and gives a release of each, or nil for one that is kept
// back. docs/hosts.md says what each part is for.

import CryptoKit
import Foundation
import OnnxRuntimeBindings

private let batch = 16
private let draws = 8  // how often other random numbers are tried for a sample that is kept back

struct PrivatizerError: Error {
    let message: String
}

private func hmac(_ key: Data, _ message: Data) -> Data {
    Data(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
}

/// So many numbers in [0, 1), a function of the seed.
private func uniforms(_ seed: Data, _ count: Int) -> [Double] {
    var drawn: [Double] = []
    var block: UInt32 = 0
    while drawn.count < count {
        let number = withUnsafeBytes(of: block.littleEndian) { Data($0) }
        let bytes = [UInt8](hmac(seed, number))
        for place in 0..<4 where drawn.count < count {
            let value = bytes[8 * place..<8 * place + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            drawn.append(Double(value >> 11) * 0x1p-53)
        }
        block += 1
    }
    return drawn
}

/// So many from N(0, 1), by Box and Muller, and so many in [0, 1).
private func randomNumbers(_ seed: Data, normal: Int, uniform: Int) -> ([Float], [Float]) {
    let pairs = (normal + 1) / 2
    let drawn = uniforms(seed, 2 * pairs + uniform)
    var normals = [Float](repeating: 0, count: 2 * pairs)
    for pair in 0..<pairs {
        let radius = (-2 * log1p(-drawn[pair])).squareRoot()
        let angle = 2 * Double.pi * drawn[pairs + pair]
        normals[pair] = Float(radius * cos(angle))
        normals[pairs + pair] = Float(radius * sin(angle))
    }
    return (Array(normals.prefix(normal)), drawn.dropFirst(2 * pairs).map(Float.init))
}

/// The entries of `metadata_props` (field 14 of ONNX's ModelProto, each with a key 1 and a value 2), which the bindings
/// do not give.
private func metadata(of graph: Data) -> [String: String] {
    let bytes = [UInt8](graph)
    func fields(_ range: Range<Int>, _ take: (Int, Range<Int>) -> Void) {
        var at = range.lowerBound
        func varint() -> Int {
            var value = 0
            var shift = 0
            while true {
                let byte = bytes[at]
                at += 1
                value |= Int(byte & 127) << shift
                if byte < 128 { return value }
                shift += 7
            }
        }
        while at < range.upperBound {
            let tag = varint()
            switch tag & 7 {
            case 0: _ = varint()
            case 1: at += 8
            case 5: at += 4
            default:
                let length = varint()
                take(tag >> 3, at..<at + length)
                at += length
            }
        }
    }
    var said: [String: String] = [:]
    fields(0..<bytes.count) { field, range in
        guard field == 14 else { return }
        var entry: [Int: String] = [:]
        fields(range) { part, own in entry[part] = String(decoding: bytes[own], as: UTF8.self) }
        said[entry[1] ?? ""] = entry[2] ?? ""
    }
    return said
}

/// A privatizer's graph, and the key that all its random numbers come from.
final class Privatizer {
    private let environment: ORTEnv
    private let session: ORTSession
    private let key: Data
    private let filter: String
    private let shape: [Int]
    private let normal: Int
    private let uniform: Int

    init(graph path: String, key: Data) throws {
        guard key.count == 32 else { throw PrivatizerError(message: "the key has to be 32 bytes") }
        let said = metadata(of: try Data(contentsOf: URL(fileURLWithPath: path)))
        func json(_ name: String) throws -> [String: Any] {
            let value = try JSONSerialization.jsonObject(with: Data((said["privsdk.\(name)"] ?? "").utf8))
            return value as? [String: Any] ?? [:]
        }
        guard said["privsdk.schema"] == "1", let filter = said["privsdk.filter"],
            let shape = try json("sample")["shape"] as? [Int]
        else { throw PrivatizerError(message: "this is no graph of a privatizer that this host knows") }
        let drawn = try json("draws")
        func width(_ distribution: String) -> Int {
            (drawn[distribution] as? [[Any]] ?? []).compactMap { $0.last as? Int }.reduce(0, +)
        }
        self.key = key
        self.filter = filter
        self.shape = shape
        normal = width("normal")
        uniform = width("uniform")
        environment = try ORTEnv(loggingLevel: .error)
        session = try ORTSession(env: environment, modelPath: path, sessionOptions: nil)
        if try session.inputNames().contains("private") {
            throw PrivatizerError(message: "this privatizer wants private labels: this host has none")
        }
    }

    /// Samples to releases; nil for one that is kept back.
    func release(_ samples: [Data]) throws -> [Data?] {
        var released = [Data?](repeating: nil, count: samples.count)
        for draw in 1...draws {
            let waiting = samples.indices.filter { released[$0] == nil }
            for start in stride(from: 0, to: waiting.count, by: batch) {
                let rows = waiting[start..<min(start + batch, waiting.count)]
                let found = try run(rows.map { samples[$0] }, draw)
                for (row, one) in zip(rows, found) { released[row] = one }
            }
        }
        return released
    }

    private func run(_ samples: [Data], _ draw: Int) throws -> [Data?] {
        let count = samples.count
        var normals: [Float] = []
        var others: [Float] = []
        for sample in samples {
            let seed = hmac(key, Data("release by \(filter), draw \(draw):".utf8) + sample)
            let (own, rest) = randomNumbers(seed, normal: normal, uniform: uniform)
            normals += own
            others += rest
        }
        func value(_ data: Data, _ type: ORTTensorElementDataType, _ shape: [Int]) throws -> ORTValue {
            try ORTValue(
                tensorData: NSMutableData(data: data), elementType: type, shape: shape.map { NSNumber(value: $0) })
        }
        func bytes(_ numbers: [Float]) -> Data { numbers.withUnsafeBytes { Data($0) } }
        var inputs = [
            "samples": try value(samples.reduce(Data(), +), .uInt8, [count] + shape),
            "normal": try value(bytes(normals), .float, [count, normal]),
        ]
        if uniform > 0 { inputs["uniform"] = try value(bytes(others), .float, [count, uniform]) }
        let outputs = try session.run(
            withInputs: inputs, outputNames: ["released", "kept_back"], runOptions: nil)
        guard let images = try outputs["released"]?.tensorData() as Data?,
            let keptBack = try outputs["kept_back"]?.tensorData() as Data?
        else { throw PrivatizerError(message: "the graph gave no release") }
        let size = shape.reduce(1, *)
        return (0..<count).map { row in
            keptBack[row] == 0 ? images.subdata(in: row * size..<(row + 1) * size) : nil
        }
    }
}
