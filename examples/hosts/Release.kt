// Releases samples by a privatizer's graph, in Kotlin: on Android with com.microsoft.onnxruntime:onnxruntime-android,
// elsewhere with com.microsoft.onnxruntime:onnxruntime, both 1.27.0.
//
// `Privatizer(graph, key).release(samples)` takes the device's 32 secret bytes and samples as the graph takes them
// (uint8; of faces 64 x 64 x 3 each, already aligned), and gives a release of each, or null for one that is kept back.
// docs/hosts.md says what each part is for.

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec
import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.ln1p
import kotlin.math.sin
import kotlin.math.sqrt

private const val BATCH = 16
private const val DRAWS = 8 // how often other random numbers are tried for a sample that is kept back

private fun hmac(key: ByteArray, vararg parts: ByteArray): ByteArray {
    val mac = Mac.getInstance("HmacSHA256")
    mac.init(SecretKeySpec(key, "HmacSHA256"))
    parts.forEach(mac::update)
    return mac.doFinal()
}

/** So many numbers in [0, 1), a function of the seed. */
private fun uniforms(seed: ByteArray, count: Int): DoubleArray {
    val drawn = DoubleArray(count)
    for (block in 0 until (count + 3) / 4) {
        val number = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(block).array()
        val longs = ByteBuffer.wrap(hmac(seed, number)).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer()
        for (place in 0 until minOf(4, count - 4 * block)) {
            drawn[4 * block + place] = (longs.get(place) ushr 11).toDouble() * Math.scalb(1.0, -53)
        }
    }
    return drawn
}

/** Appends so many from N(0, 1), by Box and Muller, and so many in [0, 1). */
private fun drawRandomNumbers(seed: ByteArray, normal: Int, uniform: Int, normals: FloatBuffer, others: FloatBuffer) {
    val pairs = (normal + 1) / 2
    val drawn = uniforms(seed, 2 * pairs + uniform)
    val row = FloatArray(2 * pairs)
    for (pair in 0 until pairs) {
        val radius = sqrt(-2 * ln1p(-drawn[pair]))
        val angle = 2 * PI * drawn[pairs + pair]
        row[pair] = (radius * cos(angle)).toFloat()
        row[pairs + pair] = (radius * sin(angle)).toFloat()
    }
    normals.put(row, 0, normal)
    for (place in 2 * pairs until drawn.size) others.put(drawn[place].toFloat())
}

/** A privatizer's graph, and the key that all its random numbers come from. */
class Privatizer(graph: ByteArray, private val key: ByteArray) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession
    private val filter: String
    private val shape: LongArray
    private val widths: Map<String, Int>

    init {
        require(key.size == 32) { "the key has to be 32 bytes" }
        session = environment.createSession(graph)
        val said = session.metadata.customMetadata
        require(said["privsdk.schema"] == "1") { "this is no graph of a privatizer that this host knows" }
        filter = said.getValue("privsdk.filter")
        val shapes = session.inputInfo.mapValues { (it.value.info as TensorInfo).shape }
        require("private" !in shapes) { "this privatizer wants private labels: this host has none" }
        shape = shapes.getValue("samples")
        widths = (shapes - "samples").mapValues { it.value[1].toInt() }
    }

    /** Samples to releases; null for one that is kept back. */
    fun release(samples: List<ByteArray>): List<ByteArray?> {
        val released = arrayOfNulls<ByteArray>(samples.size)
        for (draw in 1..DRAWS) {
            val waiting = samples.indices.filter { released[it] == null }
            for (rows in waiting.chunked(BATCH)) {
                run(rows.map(samples::get), draw).forEachIndexed { place, one -> released[rows[place]] = one }
            }
        }
        return released.toList()
    }

    override fun close() = session.close()

    private fun run(samples: List<ByteArray>, draw: Int): List<ByteArray?> {
        val count = samples.size
        val size = samples.first().size
        val normal = widths.getValue("normal")
        val uniform = widths["uniform"] ?: 0
        val together = direct(count * size)
        val normals = direct(4 * count * normal).asFloatBuffer()
        val others = direct(4 * count * uniform).asFloatBuffer()
        for (sample in samples) {
            val purpose = "release by $filter, draw $draw:".toByteArray()
            drawRandomNumbers(hmac(key, purpose, sample), normal, uniform, normals, others)
            together.put(sample)
        }
        listOf(together, normals, others).forEach { it.rewind() }
        val ownShape = shape.copyOf().also { it[0] = count.toLong() }
        val inputs = buildMap {
            put("samples", OnnxTensor.createTensor(environment, together, ownShape, OnnxJavaType.UINT8))
            put("normal", OnnxTensor.createTensor(environment, normals, longArrayOf(count.toLong(), normal.toLong())))
            if (uniform > 0) {
                put("uniform", OnnxTensor.createTensor(environment, others, longArrayOf(count.toLong(), uniform.toLong())))
            }
        }
        try {
            session.run(inputs).use { outputs ->
                val images = (outputs["released"].get() as OnnxTensor).byteBuffer
                val keptBack = (outputs["kept_back"].get() as OnnxTensor).byteBuffer
                return samples.indices.map { row ->
                    val one = ByteArray(size).also(images::get)
                    if (keptBack.get(row).toInt() == 0) one else null
                }
            }
        } finally {
            inputs.values.forEach(OnnxTensor::close)
        }
    }

    private fun direct(bytes: Int) = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
}
