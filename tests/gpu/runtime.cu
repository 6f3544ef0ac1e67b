/* The vendor's runtime in a slice: `runtime LIMIT_BYTES` prints ok, or what was wrong. */
#include <cstdio>
#include <cstdlib>

__global__ void square(int *values, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		values[i] *= i;
}

int main(int argc, char **argv)
{
	const int n = 100000;
	size_t left = 0, total = 0;
	int *values;
	void *rest;

	if (argc != 2 || cudaMemGetInfo(&left, &total) != cudaSuccess || total != strtoull(argv[1], NULL, 10)) {
		printf("total %zu\n", total);
		return 0;
	}
	if (cudaMallocManaged(&values, n * sizeof *values) != cudaSuccess) {
		printf("managed memory was refused\n");
		return 0;
	}
	for (int i = 0; i < n; i++)
		values[i] = i;
	square<<<(n + 255) / 256, 256>>>(values, n);
	if (cudaDeviceSynchronize() != cudaSuccess || values[300] != 90000) {
		printf("a wrong result: %s\n", cudaGetErrorString(cudaGetLastError()));
		return 0;
	}
	cudaMemGetInfo(&left, &total);
	if (cudaMalloc(&rest, left) != cudaSuccess) {
		printf("what is free does not fit\n");
		return 0;
	}
	cudaError_t rc = cudaMalloc(&rest, total);
	printf("%s\n", rc == cudaErrorMemoryAllocation ? "ok" : cudaGetErrorName(rc));
	return 0;
}
